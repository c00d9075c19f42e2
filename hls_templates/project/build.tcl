# Synthesis of @MODEL@. Options lie in options.tcl, because vitis-run hands no arguments to Tcl.
source [file join [file dirname [file normalize [info script]]] options.tcl]
open_project -reset project_@TOP@
set_top @TOP@
add_files firmware/@TOP@.cpp -cflags "-std=c++14 -Ifirmware"
open_solution -reset solution1 -flow_target vivado
set_part $part
create_clock -period $clock_period -name default
set_clock_uncertainty $clock_uncertainty default
csynth_design
if {$export} {
    export_design -format ip_catalog
}
exit
