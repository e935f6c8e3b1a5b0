# SPDX-License-Identifier: MIT
# The quarry command. It links single rooms of lib/ (the options, the text builder), never the libraries themselves.

# What reads other processes, cores and files; tests link it, too.
noinst_LTLIBRARIES += tools/libinspect.la
tools_libinspect_la_SOURCES = \
	tools/tool.h tools/tool.c \
	tools/target.h tools/target.c tools/core.c \
	tools/image.h tools/image.c \
	tools/snapshot.h tools/snapshot.c tools/snapshot_arenas.c \
	tools/records.h tools/records.c
tools_libinspect_la_CPPFLAGS = $(AM_CPPFLAGS) -DQUARRY_LIBDIR='"$(libdir)"'

bin_PROGRAMS = tools/quarry
tools_quarry_SOURCES = \
	tools/look.h tools/look.c \
	tools/stat.c tools/stat_json.c \
	tools/top.h tools/top.c tools/top_tables.c tools/top_frame.c \
	tools/prof.c tools/profile.h tools/profile_read.c tools/profile_names.c tools/profile_pprof.c tools/profile_flame.c \
	tools/report.c \
	tools/run.c \
	tools/doctor.h tools/doctor.c tools/doctor_system.c \
	tools/quarry.c
tools_quarry_CPPFLAGS = $(AM_CPPFLAGS) -DQUARRY_TOPOLOGY_FILE='"$(pkglibdir)/libquarry_topology.so"'
tools_quarry_CFLAGS = $(AM_CFLAGS) $(NCURSES_CFLAGS) $(LIBDW_CFLAGS)
tools_quarry_LDADD = tools/libinspect.la lib/libquarry_core.la $(NCURSES_LIBS) $(LIBDW_LIBS)
if HAVE_NCURSES
tools_quarry_SOURCES += tools/top_screen.c
else
tools_quarry_SOURCES += tools/top_noscreen.c
endif
if HAVE_LIBDW
tools_quarry_SOURCES += tools/profile_libdw.c
else
tools_quarry_SOURCES += tools/profile_nolibdw.c
endif

# CPython on Quarry. Warnings of its headers are not ours.
if HAVE_PYTHON
bin_PROGRAMS += tools/quarry-python
dist_man_MANS += man/quarry-python.1
endif
tools_quarry_python_SOURCES = tools/python.h tools/python.c tools/python_report.c
tools_quarry_python_CFLAGS = $(AM_CFLAGS) $(PYTHON_CFLAGS:-I%=-isystem%)
tools_quarry_python_LDADD = lib/libquarry.la tools/libinspect.la lib/libquarry_core.la $(PYTHON_LIBS)

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = tools/completions/quarry tools/completions/quarry-python

# The script for gdb reads the layout: names and their order come from the header.
layout_names = awk -v list='LAYOUT_$(1)(X)' '$$1 == "\#define" { inside = $$2 == list } \
	inside && sub(/^[ \t]*X\(/, "") { sub(/,.*/, ""); printf "%s ", $$0 }' $(top_srcdir)/lib/layout.h
gdbdir = $(pkgdatadir)
gdb_DATA = tools/quarry-gdb.py
EXTRA_DIST += tools/gdb.py.in
CLEANFILES += tools/quarry-gdb.py
tools/quarry-gdb.py: tools/gdb.py.in lib/layout.h
	$(AM_V_GEN)$(MKDIR_P) tools && sed -e "s/@NUMBERS@/$$($(call layout_names,NUMBERS))/" \
	-e "s/@OBJECTS@/$$($(call layout_names,OBJECTS))/" -e "s/@FIELDS@/$$($(call layout_names,FIELDS))/" \
	-e "s/@LAYOUT_VERSION@/$$(sed -n 's/^.define LAYOUT_VERSION //p' $(top_srcdir)/lib/layout.h)/" \
	$(top_srcdir)/tools/gdb.py.in >$@.new && mv $@.new $@
