# SPDX-License-Identifier: MIT
# The quarry command. It links single rooms of lib/ (the options, the text builder), never the libraries themselves.

bin_PROGRAMS = tools/quarry
tools_quarry_SOURCES = \
	tools/tool.h tools/tool.c \
	tools/run.c \
	tools/doctor.h tools/doctor.c tools/doctor_system.c \
	tools/quarry.c
tools_quarry_CPPFLAGS = $(AM_CPPFLAGS) -DQUARRY_LIBDIR='"$(libdir)"' \
	-DQUARRY_TOPOLOGY_FILE='"$(pkglibdir)/libquarry_topology.so"'
tools_quarry_LDADD = lib/libquarry_core.la

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = tools/completions/quarry
