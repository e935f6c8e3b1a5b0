/* SPDX-License-Identifier: MIT */
/*
 * Workload: a fixed course through all of Quarry, under whatever faults are injected, that fails the process where a
 * promise is broken: NULL only where memory is short, with ENOMEM, and never a block that is not whole.
 */
#ifndef QUARRY_FAULT_WORKLOAD_H
#define QUARRY_FAULT_WORKLOAD_H

#include <stdbool.h>

/** All phases. may_run_short: NULL with ENOMEM is right from now on. */
void workload_run(bool may_run_short);

/** With nothing failing any more: everything works again, and once all is freed nothing has been lost. */
void workload_recover(void);

#endif
