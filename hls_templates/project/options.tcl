# Part, clock (250 MHz) and what to run.
set part @PART@
set clock_period 4
set clock_uncertainty 12.5%
set export 0
