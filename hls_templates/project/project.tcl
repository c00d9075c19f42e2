# Opens the project of @KERNEL@ in the working directory. csim.tcl, csynth.tcl, cosim.tcl and xo.tcl source it.
# Commands: UG1399, "Vitis HLS Command Reference". The paths must not hold blanks: the tool splits its flags there.
set here [file dirname [file normalize [info script]]]
source [file join $here options.tcl]
set flags "-std=c++14 -I$here/firmware"
open_project project_$kernel
set_top $kernel
add_files [file join $here firmware $kernel.cpp] -cflags $flags
add_files -tb [file join $here tb ${kernel}_test.cpp] -cflags "$flags -Wno-unknown-pragmas"
open_solution solution1 -flow_target vitis
set_part $part
create_clock -period $clock_period -name default
set_clock_uncertainty $clock_uncertainty default
config_interface -m_axi_addr64=true
