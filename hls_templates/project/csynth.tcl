# C to RTL. What an earlier run left behind goes first.
file delete -force project_@KERNEL@
source [file join [file dirname [file normalize [info script]]] project.tcl]
csynth_design
exit
