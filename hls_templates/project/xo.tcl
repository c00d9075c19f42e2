# The RTL of csynth.tcl as a Vitis kernel, in the working directory.
source [file join [file dirname [file normalize [info script]]] project.tcl]
export_design -format xo -output [file join [pwd] @KERNEL@.xo]
exit
