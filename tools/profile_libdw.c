/* SPDX-License-Identifier: MIT */
/*
 * Profile, symbols by libdw (elfutils): see profile.h. Names come from symbol tables, lines from debug information,
 * where it is installed; nothing is fetched from elsewhere.
 */
#include "profile.h"

#include <elfutils/libdwfl.h>
#include <stdlib.h>

/* A return address is that behind the call. */
static void find(Dwfl *dwfl, struct profile_location *location)
{
	Dwarf_Addr pc = location->address - 1;
	Dwfl_Module *module = dwfl_addrmodule(dwfl, pc);
	const char *name = module ? dwfl_module_addrname(module, pc) : NULL;
	Dwfl_Line *line = module ? dwfl_module_getsrc(module, pc) : NULL;
	const char *file = line ? dwfl_lineinfo(line, NULL, &location->line, NULL, NULL, NULL) : NULL;

	if (name)
		location->symbol = profile_text(name);
	if (file)
		location->file = profile_text(file);
	else
		location->line = 0;
}

void profile_find_symbols(struct profile *profile)
{
	static char *debuginfo_path;
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.debuginfo_path = &debuginfo_path,
	};
	Dwfl *dwfl;

	unsetenv("DEBUGINFOD_URLS");
	dwfl = dwfl_begin(&callbacks);
	if (!dwfl)
		return;
	if (profile->is_process)
		dwfl_linux_proc_report(dwfl, profile->target.pid);
	else
		dwfl_linux_proc_maps_report(dwfl, profile->maps);
	if (dwfl_report_end(dwfl, NULL, NULL) == 0) {
		for (size_t i = 0; i < profile->nlocations; i++)
			find(dwfl, &profile->locations[i]);
	}
	dwfl_end(dwfl);
}
