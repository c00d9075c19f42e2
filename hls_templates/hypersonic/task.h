// The calls of a DATAFLOW region. Synthesis sees plain calls; our simulation runs each as a fiber, so that
// bounded FIFOs behave as in hardware.
#ifndef HYPERSONIC_TASK_H
#define HYPERSONIC_TASK_H

#include "hls_stream.h"

#if defined(HYPERSONIC_SIM) && !defined(__SYNTHESIS__)
#define HS_TASK(...) hypersonic_sim::scheduler::get().spawn([&] { __VA_ARGS__; })
#define HS_RUN() hypersonic_sim::scheduler::get().run()
#else
#define HS_TASK(...) __VA_ARGS__
#define HS_RUN()
#endif

#endif
