# What is built, and for what. The scripts take no arguments, because vitis-run hands none to Tcl: edit them here.
set kernel @KERNEL@
set part @PART@
# In ns: @CLOCK_MHZ@ MHz.
set clock_period @CLOCK_PERIOD@
set clock_uncertainty 12.5%
