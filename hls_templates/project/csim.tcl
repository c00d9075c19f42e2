# C simulation of @KERNEL@ on tb/data, with the vendor's compiler.
source [file join [file dirname [file normalize [info script]]] project.tcl]
csim_design -O -argv $here
exit
