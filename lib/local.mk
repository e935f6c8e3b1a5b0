# SPDX-License-Identifier: MIT
# The libraries. libquarry_core is every room but libc's names: it is libquarry, and with lib/malloc.c and
# lib/operators.c it is libquarry_malloc; the tests link it to see what is hidden.

# === rooms ===========================================================================================================
# One room a line, bottom-up: a file may include only headers at or before its own place. A test holds them to it.

# layer 0: constants and arithmetic
core_rooms = \
	lib/compiler.h \
	lib/probe.h \
	lib/tunables.h \
	lib/sizeclass.h lib/sizeclass.c

# layer 1: the system
core_rooms += \
	lib/report.h lib/report.c \
	lib/options.h lib/options_table.h lib/options.c \
	lib/os.h lib/os.c \
	lib/lock.h lib/lock.c

# layer 2: this thread, these nodes, Quarry's own records; lib/topology.c is a module of its own
core_rooms += \
	lib/rcu.h lib/rcu.c \
	lib/slot.h \
	lib/topology.h \
	lib/node.h lib/node.c \
	lib/harden.h lib/harden.c \
	lib/meta.h lib/meta.c \
	lib/limit.h lib/limit.c \
	lib/counting.h lib/counting.c \
	lib/frame_cache.h lib/frame_cache.c \
	lib/frame_table.h lib/frame_table.c \
	lib/frame_rules.h lib/frame_rules.c \
	lib/unwind.h lib/unwind.c \
	lib/sample.h lib/sample.c \
	lib/guard_pace.h lib/guard_pace.c
topology_rooms = \
	lib/topology.c
archive_rooms = \
	lib/rcu_linked.c

# layer 3: arenas
core_rooms += \
	lib/address_map.h lib/address_map.c \
	lib/guard.h \
	lib/guard_report.h lib/guard_report.c \
	lib/guard.c \
	lib/provider.h lib/provider.c lib/provider_ready.c \
	lib/arena.h lib/arena.c \
	lib/arena_list.h lib/arena_list.c

# layer 4: blocks
core_rooms += \
	lib/pool.h lib/pool.c \
	lib/fence.h lib/fence.c \
	lib/quarantine.h lib/quarantine.c \
	lib/span.h lib/span.c \
	lib/slab.h lib/slab.c \
	lib/depot.h lib/depot.c \
	lib/large.h lib/large_record.h lib/large_record.c lib/large.c

# layer 5: heaps and threads
core_rooms += \
	lib/heap.h lib/heap.c \
	lib/remote.h lib/remote.c \
	lib/cache.h lib/cache.c \
	lib/claim.h lib/claim.c \
	lib/thread.h lib/thread.c \
	lib/purge.h lib/purge.c \
	lib/fork.h lib/fork.c \
	lib/region.h lib/region.c

# layer 6: what programs call; libc's names are not part of the core
core_rooms += \
	lib/entry.h lib/entry.c lib/entry_free.c \
	lib/region_entry.h lib/region_entry.c \
	lib/resize.h lib/resize.c \
	lib/region_calls.c \
	lib/raw.c \
	lib/object_cache.h lib/object_cache.c \
	lib/magazine.h lib/magazine.c \
	lib/object.c \
	lib/walk.h lib/walk.c \
	lib/named_stats.h lib/named_stats.c \
	lib/node_stats.h \
	lib/stats.h lib/stats.c \
	lib/node_stats.c \
	lib/limits.c \
	lib/detail_stats.h lib/detail_stats.c \
	lib/stats_output.h lib/stats_output.c \
	lib/stats_json.c \
	lib/stats_prometheus.c \
	lib/stats_tables.c \
	lib/placement.c \
	lib/profile.h lib/profile.c \
	lib/layout.h lib/layout.c \
	lib/quarry.c \
	lib/init.c
surface_rooms = \
	lib/malloc.c \
	lib/operators.c

# === shared libraries ================================================================================================

include_quarrydir = $(includedir)/quarry
include_quarry_HEADERS = \
	include/quarry/cache.h \
	include/quarry/heap.h \
	include/quarry/limit.h \
	include/quarry/new.h \
	include/quarry/profile.h \
	include/quarry/provider.h \
	include/quarry/quarry.h \
	include/quarry/raw.h \
	include/quarry/stats.h

noinst_LTLIBRARIES += lib/libquarry_core.la lib/libquarry_surface.la lib/libquarry_linked.la
lib_libquarry_core_la_SOURCES = $(core_rooms)
lib_libquarry_surface_la_SOURCES = $(surface_rooms)
lib_libquarry_linked_la_SOURCES = $(archive_rooms)

library_version = -version-info 0:0:0
EXTRA_DIST += lib/libquarry.map lib/libquarry_malloc.map

lib_LTLIBRARIES += lib/libquarry.la
lib_libquarry_la_SOURCES =
lib_libquarry_la_LIBADD = lib/libquarry_core.la
lib_libquarry_la_LDFLAGS = $(AM_LDFLAGS) $(QUARRY_SHARED_LDFLAGS) $(library_version) \
	-Wl,--version-script=$(top_srcdir)/lib/libquarry.map
EXTRA_lib_libquarry_la_DEPENDENCIES = lib/libquarry.map

lib_LTLIBRARIES += lib/libquarry_malloc.la
lib_libquarry_malloc_la_SOURCES =
lib_libquarry_malloc_la_LIBADD = lib/libquarry_surface.la lib/libquarry_core.la
lib_libquarry_malloc_la_LDFLAGS = $(AM_LDFLAGS) $(QUARRY_SHARED_LDFLAGS) $(library_version) \
	-Wl,--version-script=$(top_srcdir)/lib/libquarry_malloc.map
EXTRA_lib_libquarry_malloc_la_DEPENDENCIES = lib/libquarry_malloc.map

# The same sources with more checks, for programs that can do with a slower malloc.
hardened_cppflags = $(AM_CPPFLAGS) -DQUARRY_HARDENED=1
noinst_LTLIBRARIES += lib/libquarry_core_hardened.la lib/libquarry_surface_hardened.la
lib_libquarry_core_hardened_la_SOURCES = $(core_rooms)
lib_libquarry_core_hardened_la_CPPFLAGS = $(hardened_cppflags)
lib_libquarry_surface_hardened_la_SOURCES = $(surface_rooms)
lib_libquarry_surface_hardened_la_CPPFLAGS = $(hardened_cppflags)

# The same once more for a test, as --enable-counting makes all of them.
if !SANITIZED
check_LTLIBRARIES = lib/libquarry_core_counting.la
endif
lib_libquarry_core_counting_la_SOURCES = $(core_rooms)
lib_libquarry_core_counting_la_CPPFLAGS = $(AM_CPPFLAGS) -DQUARRY_COUNTING=1

lib_LTLIBRARIES += lib/libquarry_malloc_hardened.la
lib_libquarry_malloc_hardened_la_SOURCES =
lib_libquarry_malloc_hardened_la_LIBADD = lib/libquarry_surface_hardened.la lib/libquarry_core_hardened.la
lib_libquarry_malloc_hardened_la_LDFLAGS = $(lib_libquarry_malloc_la_LDFLAGS)
EXTRA_lib_libquarry_malloc_hardened_la_DEPENDENCIES = lib/libquarry_malloc.map

# The only one with hwloc: opened where the kernel allows more than one node, never linked.
pkglib_LTLIBRARIES += lib/libquarry_topology.la
lib_libquarry_topology_la_SOURCES = $(topology_rooms)
lib_libquarry_topology_la_CPPFLAGS = $(AM_CPPFLAGS) $(HWLOC_CFLAGS)
lib_libquarry_topology_la_LIBADD = $(HWLOC_LIBS)
lib_libquarry_topology_la_LDFLAGS = $(AM_LDFLAGS) $(QUARRY_SHARED_LDFLAGS) -module -avoid-version

# === static archives =================================================================================================
# One object each, hidden names made local: a program that links one sees the intended symbols and no other, and takes
# all of it or nothing. Its code is position independent, for executables of every kind.

archives = lib/libquarry.a lib/libquarry_malloc.a lib/libquarry_malloc_hardened.a
CLEANFILES += $(archives) $(archives:.a=.o)
if BUILD_ARCHIVES
archivedir = $(libdir)
archive_DATA = $(archives)
endif

lib/libquarry.a: lib/libquarry_core.la lib/libquarry_linked.la
lib/libquarry_malloc.a: lib/libquarry_core.la lib/libquarry_surface.la lib/libquarry_linked.la
lib/libquarry_malloc_hardened.a: lib/libquarry_core_hardened.la lib/libquarry_surface_hardened.la lib/libquarry_linked.la
$(archives):
	$(AM_V_GEN)rm -f $@ && \
	$(LD) -r -o $(@:.a=.o) --whole-archive $(patsubst lib/%.la,lib/.libs/%.a,$^) && \
	$(OBJCOPY) --localize-hidden $(@:.a=.o) && \
	$(AR) cr $@ $(@:.a=.o)

# === pkg-config ======================================================================================================

pkgconfigdir = @pkgconfigdir@
pkgconfig_DATA = lib/libquarry.pc lib/libquarry_malloc.pc lib/libquarry_malloc_hardened.pc

# === CMake ===========================================================================================================

cmakedir = $(libdir)/cmake/quarry
nodist_cmake_DATA = lib/quarry-config.cmake lib/quarry-config-version.cmake
EXTRA_DIST += lib/quarry-config.cmake.in lib/quarry-config-version.cmake.in
CLEANFILES += $(nodist_cmake_DATA)
$(nodist_cmake_DATA): %: %.in Makefile
	$(AM_V_GEN)$(MKDIR_P) lib && sed -e 's|@cmake_libdir[@]|$(libdir)|' -e 's|@cmake_includedir[@]|$(includedir)|' \
	-e 's|@PACKAGE_VERSION[@]|$(PACKAGE_VERSION)|' $(top_srcdir)/$@.in >$@
