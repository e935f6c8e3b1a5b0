# SPDX-License-Identifier: MIT
# The bench frame and the demo: built and run on request only. All call plain malloc; which allocator answers is decided
# by LD_PRELOAD, except for kv_server_quarry, which shows how a server is linked.

# === lists ===========================================================================================================

# The loads of bench/numa, which starts the demo's server too.
NUMA_LOADS = \
	bench/load/numa_bandwidth \
	bench/load/numa_handoff \
	bench/load/numa_local \
	bench/load/numa_migrate \
	bench/load/numa_shared

# One workload each, with the harness.
BENCH_LOADS = \
	bench/load/age \
	bench/load/batch \
	bench/load/burst \
	bench/load/calloc \
	bench/load/churn \
	bench/load/flat \
	bench/load/idle \
	bench/load/large \
	bench/load/larson \
	bench/load/mstress \
	bench/load/nodes \
	$(NUMA_LOADS) \
	bench/load/pair \
	bench/load/pc_sleep \
	bench/load/prodcons \
	bench/load/realloc \
	bench/load/replace \
	bench/load/swap \
	bench/load/window \
	bench/startup

DEMO_PARTS = \
	bench/kv_server \
	bench/kv_server_quarry \
	bench/kv_load

# The experiment of bench/ints: one source, with and without Quarry.
INTS_PARTS = \
	bench/make_ints \
	bench/make_ints_quarry

BENCH_FILES = \
	bench/NUMA-MODEL.md \
	bench/RESULTS.md \
	bench/accounting \
	bench/benchlib.py \
	bench/build-field \
	bench/chart \
	bench/checks \
	bench/compare \
	bench/demo \
	bench/exhibits.py \
	bench/field \
	bench/flat \
	bench/instructions \
	bench/ints \
	bench/ints.svg \
	bench/loads.py \
	bench/numa \
	bench/numa-guest \
	bench/numa_guest_init.py \
	bench/numa_machine.py \
	bench/numa_model.py \
	bench/numa_plan.py \
	bench/numa_report.py \
	bench/numa_server.py \
	bench/numa_svg.py \
	bench/numa_tables.py \
	bench/profiled \
	bench/programs \
	bench/publish \
	bench/python \
	bench/report.py \
	bench/results \
	bench/results.svg \
	bench/rows.py \
	bench/run \
	bench/terminal.py \
	bench/top-map.svg \
	bench/top.svg \
	bench/watched \
	bench/work/headers.cc \
	bench/work/history.py \
	bench/work/memcached_load.py \
	bench/work/objects.py \
	bench/work/python.py \
	bench/work/sales.sql

# === programs ========================================================================================================

EXTRA_PROGRAMS = $(BENCH_LOADS) $(DEMO_PARTS) $(INTS_PARTS) bench/measure
EXTRA_LTLIBRARIES = bench/libharness.la bench/micro/libfloor.la
EXTRA_DIST += $(BENCH_FILES)
CLEANFILES += $(EXTRA_PROGRAMS) $(EXTRA_LTLIBRARIES)

# Not with the harness: what it measures is to begin small.
bench_measure_SOURCES = bench/measure.c

bench_libharness_la_SOURCES = bench/harness.h bench/harness.c bench/node_of.h bench/placement.h bench/placement.c
$(BENCH_LOADS): LDADD = bench/libharness.la
$(BENCH_LOADS): bench/libharness.la

# What malloc and free cost when they do nothing: preloaded like an allocator.
bench_micro_libfloor_la_SOURCES = bench/micro/floor.c
bench_micro_libfloor_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -rpath /nowhere

kv_server_sources = \
	bench/kv_buffer.h bench/kv_buffer.c \
	bench/kv_command.h bench/kv_command.c \
	bench/kv_containers.c \
	bench/kv_dict.h bench/kv_dict.c \
	bench/kv_info.c \
	bench/kv_protocol.h bench/kv_protocol.c \
	bench/kv_reply.c \
	bench/kv_server.c \
	bench/kv_strings.c \
	bench/kv_table.h bench/kv_table.c \
	bench/kv_value.h bench/kv_value.c \
	bench/kv_worker.h bench/kv_worker.c \
	bench/node_of.h
bench_kv_server_SOURCES = $(kv_server_sources)
bench_kv_server_LDADD =
bench_kv_server_quarry_SOURCES = $(kv_server_sources)
bench_kv_server_quarry_LDADD = lib/libquarry_malloc.la
bench_kv_server_quarry_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_kv_load_SOURCES = \
	bench/kv_buffer.h bench/kv_buffer.c \
	bench/kv_client.h bench/kv_client.c \
	bench/kv_histogram.h bench/kv_histogram.c \
	bench/kv_load.c \
	bench/kv_model.h bench/kv_model.c \
	bench/kv_reply.c \
	bench/kv_requests.h bench/kv_requests.c
bench_kv_load_LDADD = -lm

bench_make_ints_SOURCES = bench/make_ints.c
bench_make_ints_LDADD =
bench_make_ints_quarry_SOURCES = bench/make_ints.c
bench_make_ints_quarry_CPPFLAGS = $(AM_CPPFLAGS) -DQUARRY_INTS
bench_make_ints_quarry_LDADD = lib/libquarry_malloc.la
bench_make_ints_quarry_LDFLAGS = $(AM_LDFLAGS) -no-install

# === running =========================================================================================================

# BENCH_ARGS and DEMO_ARGS go to the scripts: make bench BENCH_ARGS=--quick
.PHONY: bench bench-ints bench-numa bench-numa-guest bench-programs bench-watched demo
bench-programs: $(EXTRA_PROGRAMS) $(EXTRA_LTLIBRARIES)

bench: all bench-programs
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/bench/run $(BENCH_ARGS)

bench-numa: all $(NUMA_LOADS) $(DEMO_PARTS)
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/bench/numa $(BENCH_ARGS)

bench-numa-guest: all $(NUMA_LOADS) $(DEMO_PARTS)
	QUARRY_BUILD_DIR='$(abs_top_builddir)' QUARRY_PKGLIBDIR='$(pkglibdir)' $(top_srcdir)/bench/numa-guest $(BENCH_ARGS)

demo: all $(DEMO_PARTS)
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/bench/demo $(DEMO_ARGS)

bench-watched: all $(DEMO_PARTS)
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/bench/watched $(BENCH_ARGS)

bench-ints: all $(INTS_PARTS)
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/bench/ints $(BENCH_ARGS)
