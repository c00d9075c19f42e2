# The RTL of csynth.tcl, simulated on tb/data and compared with the C++.
source [file join [file dirname [file normalize [info script]]] project.tcl]
cosim_design -O -rtl verilog -argv $here
exit
