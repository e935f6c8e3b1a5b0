# SPDX-License-Identifier: MIT
# The tests. To add one, add its line to the list of its kind (a C++ program also says its source, below the lists).
# tests/run-test starts each one: the time limit, the preload for tests/abi, what a skip means.

# === lists ===========================================================================================================

# Check suites, linked with every room of the library; libc's malloc serves the suite itself.
UNIT_TESTS = \
	tests/unit/check_address_map \
	tests/unit/check_arena \
	tests/unit/check_arena_list \
	tests/unit/check_cache \
	tests/unit/check_claim \
	tests/unit/check_counting \
	tests/unit/check_entry \
	tests/unit/check_fork \
	tests/unit/check_guard \
	tests/unit/check_hardened \
	tests/unit/check_heap \
	tests/unit/check_large \
	tests/unit/check_limit \
	tests/unit/check_lock \
	tests/unit/check_meta \
	tests/unit/check_named_stats \
	tests/unit/check_node \
	tests/unit/check_object_cache \
	tests/unit/check_options \
	tests/unit/check_os \
	tests/unit/check_placement \
	tests/unit/check_pool \
	tests/unit/check_provider \
	tests/unit/check_purge \
	tests/unit/check_quarry \
	tests/unit/check_raw \
	tests/unit/check_region \
	tests/unit/check_remote \
	tests/unit/check_report \
	tests/unit/check_sample \
	tests/unit/check_sizeclass \
	tests/unit/check_slab \
	tests/unit/check_span \
	tests/unit/check_stats \
	tests/unit/check_stats_output \
	tests/unit/check_thread \
	tests/unit/check_unwind \
	tests/unit/check_walk

# A suite of these once more, with rooms that count.
COUNTED_TESTS = \
	tests/unit/check_counted

# Long-running mixtures through the quarry_* names; QUARRY_TEST_SECONDS makes them longer.
STRESS_TESTS = \
	tests/stress/exchange \
	tests/stress/heaps \
	tests/stress/inspect \
	tests/stress/model \
	tests/stress/objects \
	tests/stress/remote \
	tests/stress/storm

# The malloc contract as a black box: nothing but libc linked, the library preloaded.
ABI_TESTS = \
	tests/abi/address_space \
	tests/abi/bare_system \
	tests/abi/burst \
	tests/abi/cancel \
	tests/abi/configuration \
	tests/abi/contract \
	tests/abi/exec_storm \
	tests/abi/fork_storm \
	tests/abi/idle_threads \
	tests/abi/introspection \
	tests/abi/mapping_limit \
	tests/abi/mappings \
	tests/abi/memory_group \
	tests/abi/plugins \
	tests/abi/producer \
	tests/abi/refused_calls \
	tests/abi/signals \
	tests/abi/small_stacks \
	tests/abi/thread_churn \
	tests/abi/zeroing
ABI_CXX_TESTS = \
	tests/abi/lifecycle \
	tests/abi/operators \
	tests/abi/thread_exit

# Fuzzers with a driver that replays tests/fuzz/corpus; make fuzz links libFuzzer instead.
FUZZ_TESTS = \
	tests/fuzz/conf \
	tests/fuzz/core \
	tests/fuzz/layout \
	tests/fuzz/operations \
	tests/fuzz/profile \
	tests/fuzz/records

# System calls that fail, one after the other.
FAULT_TESTS = \
	tests/fault/calls

# One misuse each, linked with libquarry_malloc.
MISUSE_TESTS = \
	tests/misuse/double_free \
	tests/misuse/double_free_later \
	tests/misuse/foreign_free \
	tests/misuse/foreign_realloc \
	tests/misuse/guarded \
	tests/misuse/interior_free \
	tests/misuse/wrong_size

# Programs to begin from, linked as a user's would be; they check themselves.
EXAMPLE_TESTS = \
	tests/examples/mark_sweep \
	tests/examples/small_int
EXAMPLE_CXX_TESTS = \
	tests/examples/memory_resource
EXAMPLE_SHELL_TESTS = \
	tests/examples/rust.sh

# Every misuse by name, many times: the default and the hardened library against what is stated of them. The program is
# a black box, so that any library can be preloaded.
MATRIX_TESTS = \
	tests/misuse/matrix.sh
MATRIX_PARTS = \
	tests/misuse/matrix_program

# The shape of the source and of what is built and installed.
STRUCTURE_TESTS = \
	tests/structure/documented.sh \
	tests/structure/exports.sh \
	tests/structure/header.sh \
	tests/structure/layers.sh \
	tests/structure/linking.sh \
	tests/structure/needed.sh \
	tests/structure/probes.sh \
	tests/structure/results.sh

# The quarry command; the program looks at damaged processes.
TOOLS_TESTS = \
	tests/tools/doctor.sh \
	tests/tools/documented.sh \
	tests/tools/errors.sh \
	tests/tools/gdb.sh \
	tests/tools/prof.sh \
	tests/tools/python.sh \
	tests/tools/run.sh \
	tests/tools/stat.sh \
	tests/tools/statistics.sh \
	tests/tools/top.sh
INSPECT_TESTS = \
	tests/tools/damaged

# Real programs under preload, and models: make check-long only.
LONG_TESTS = \
	tests/model/relacy/run.sh \
	tests/model/run.sh \
	tests/programs/accounting.sh \
	tests/programs/bench_field.sh \
	tests/programs/git.sh \
	tests/programs/gxx.sh \
	tests/programs/kv_server.sh \
	tests/programs/memcached.sh \
	tests/programs/nginx.sh \
	tests/programs/numa_bench.sh \
	tests/programs/python.sh \
	tests/programs/quarry_python.sh \
	tests/programs/redis.sh \
	tests/programs/sqlite.sh \
	tests/schedule/run.sh

# What runs inside the emulated machines of make check-numa; no test by itself.
NUMA_PARTS = \
	tests/numa/guest_init \
	tests/numa/placement

# What tests include or start beside their own source.
TEST_FILES = \
	tests/abi/blackbox.h \
	tests/RESULTS.md \
	tests/coverage \
	tests/evidence \
	tests/examples/global_alloc.rs \
	tests/fuzz/corpus \
	tests/fuzz/findings \
	tests/fuzz/fuzz.h \
	tests/fuzz/run \
	tests/misuse/matrix \
	tests/misuse/matrix.h \
	tests/misuse/misuse.h \
	tests/model/claim.pml \
	tests/model/fork_lists.pml \
	tests/model/fork_locks.pml \
	tests/model/relacy/arenas.h \
	tests/model/relacy/blocks.h \
	tests/model/relacy/claim.cc \
	tests/model/relacy/fork.cc \
	tests/model/relacy/lock.cc \
	tests/model/relacy/purger.cc \
	tests/model/relacy/remote.cc \
	tests/model/relacy/retire.cc \
	tests/model/relacy/shim.h \
	tests/model/park.pml \
	tests/model/remote.pml \
	tests/model/retire.pml \
	tests/numa/check \
	tests/numa/figures.py \
	tests/numa/guest.py \
	tests/common.sh \
	tests/pages/larger.c \
	tests/programs/common.sh \
	tests/programs/memcached_client.py \
	tests/programs/numa_bench.py \
	tests/schedule/scenarios.c \
	tests/schedule/scheduler.c \
	tests/schedule/scheduler.h \
	tests/schedule/system.c \
	tests/stress/stress.h \
	tests/unit/emulated.h \
	tests/unit/framed.c \
	tests/unit/heaps.h \
	tests/unit/kernel.h \
	tests/unit/machine.h \
	tests/unit/unit.h \
	tests/packages.sh \
	tests/results \
	tests/run-test \
	tests/structure/common.sh \
	tests/structure/installed.sh \
	tests/tools/common.sh \
	tests/tools/profile.py \
	tests/ubsan.supp \
	tests/uncovered \
	tests/uncovered-reasons \
	tests/variant

# === programs ========================================================================================================

# A suite links the rooms that it uses, without the constructor: it begins and replaces what it likes. A program that uses
# none (tests/abi) links none.
LDADD = lib/libquarry_core.la $(CHECK_LIBS)
# A stress test or a fuzzer links all rooms, the constructor among them.
$(STRESS_TESTS) tests/fuzz/conf tests/fuzz/operations: LDADD = -Wl,--whole-archive,lib/.libs/libquarry_core.a,--no-whole-archive

# C++'s operators as well.
tests_stress_storm_LDADD = $(LDADD) lib/.libs/libquarry_surface.a
tests_stress_storm_DEPENDENCIES = lib/libquarry_core.la lib/libquarry_surface.la

check_PROGRAMS += $(FUZZ_TESTS)
TESTS += $(FUZZ_TESTS)
if SANITIZED
check_PROGRAMS += $(UNIT_TESTS) $(STRESS_TESTS) $(INSPECT_TESTS)
TESTS += $(UNIT_TESTS) $(STRESS_TESTS) $(INSPECT_TESTS)
else
check_PROGRAMS += $(UNIT_TESTS) $(STRESS_TESTS) $(INSPECT_TESTS) $(ABI_TESTS) $(FAULT_TESTS) $(MISUSE_TESTS)
check_PROGRAMS += $(EXAMPLE_TESTS) $(COUNTED_TESTS)
TESTS += $(EXAMPLE_TESTS) $(EXAMPLE_SHELL_TESTS) $(COUNTED_TESTS)
check_PROGRAMS += $(MATRIX_PARTS)
check_PROGRAMS += $(NUMA_PARTS) tests/tools/profiled tests/tools/subject
TESTS += $(STRUCTURE_TESTS) $(TOOLS_TESTS) $(INSPECT_TESTS) $(UNIT_TESTS) $(ABI_TESTS) $(FAULT_TESTS) $(MISUSE_TESTS) $(MATRIX_TESTS) $(STRESS_TESTS)
if HAVE_CXX
check_PROGRAMS += $(ABI_CXX_TESTS) $(EXAMPLE_CXX_TESTS)
TESTS += $(ABI_CXX_TESTS) $(EXAMPLE_CXX_TESTS)
endif
endif
EXTRA_DIST += $(EXAMPLE_SHELL_TESTS) $(MATRIX_TESTS) $(STRUCTURE_TESTS) $(TOOLS_TESTS) $(LONG_TESTS) $(TEST_FILES)

tests_abi_lifecycle_SOURCES = tests/abi/lifecycle.cc
tests_abi_operators_SOURCES = tests/abi/operators.cc
tests_abi_thread_exit_SOURCES = tests/abi/thread_exit.cc

tests_numa_placement_SOURCES = \
	tests/numa/calls.c \
	tests/numa/crowds.c \
	tests/numa/moves.c \
	tests/numa/pages.c \
	tests/numa/placement.c \
	tests/numa/program.c \
	tests/numa/placement.h

tests_misuse_matrix_program_SOURCES = tests/misuse/matrix.c tests/misuse/matrix_cases.c
tests_misuse_matrix_program_LDADD =

tests_fuzz_conf_SOURCES = tests/fuzz/conf.c tests/fuzz/replay.c
tests_fuzz_operations_SOURCES = tests/fuzz/operations.c tests/fuzz/replay.c
tests_fuzz_core_SOURCES = tests/fuzz/core.c tests/fuzz/replay.c
tests_fuzz_layout_SOURCES = tests/fuzz/layout.c tests/fuzz/replay.c
tests_fuzz_layout_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=target_read
tests_fuzz_profile_SOURCES = tests/fuzz/profile.c tests/fuzz/replay.c tools/profile_read.c tools/profile_names.c \
	tools/profile_nolibdw.c tools/profile_pprof.c tools/profile_flame.c
tests_fuzz_records_SOURCES = tests/fuzz/records.c tests/fuzz/replay.c
reader_fuzzers = tests/fuzz/core tests/fuzz/layout tests/fuzz/profile tests/fuzz/records

tests_fault_calls_SOURCES = tests/fault/calls.c tests/fault/workload.c tests/fault/inject.c \
	tests/fault/workload.h tests/fault/inject.h
# The calls of the rooms, and of nothing else, pass through tests/fault/inject.c.
wrapped = mmap mprotect munmap mremap madvise syscall pthread_create pthread_key_create pthread_setspecific getrlimit \
	getcpu fcntl dlopen open read
tests_fault_calls_LDFLAGS = $(AM_LDFLAGS) $(foreach name,$(wrapped),-Wl,--wrap=$(name))

tests_examples_small_int_SOURCES = \
	tests/examples/small_int.c \
	tests/examples/small_int_use.c \
	tests/examples/small_int.h
$(EXAMPLE_TESTS) $(EXAMPLE_CXX_TESTS): LDADD = lib/libquarry.la

$(INSPECT_TESTS) $(reader_fuzzers): LDADD = tools/libinspect.la \
	-Wl,--whole-archive,lib/.libs/libquarry_core.a,--no-whole-archive
$(INSPECT_TESTS) $(reader_fuzzers): tools/libinspect.la
tests_tools_profiled_LDADD =
tests_tools_subject_LDADD =

tests_unit_check_counted_SOURCES = tests/unit/check_counting.c
tests_unit_check_counted_CPPFLAGS = $(AM_CPPFLAGS) -DQUARRY_COUNTING=1
tests_unit_check_counted_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_check_counted_LDADD = lib/libquarry_core_counting.la $(CHECK_LIBS)

# Libraries that take each other's place, and differ in one number.
framed = tests/unit/framed_small.so tests/unit/framed_large.so
EXTRA_tests_unit_check_unwind_DEPENDENCIES = $(framed)
tests/unit/framed_small.so: framed_nbytes = 1000
tests/unit/framed_large.so: framed_nbytes = 2000
$(framed): tests/unit/framed.c
	$(AM_V_GEN)$(MKDIR_P) tests/unit && \
	$(CC) $(CFLAGS) -DFRAMED_NBYTES=$(framed_nbytes) -fPIC -shared -Wl,--build-id -o $@ $(srcdir)/tests/unit/framed.c
CLEANFILES += $(framed)

unit_objects = $(UNIT_TESTS:=.$(OBJEXT))
$(unit_objects): AM_CFLAGS += $(CHECK_CFLAGS)
$(MISUSE_TESTS): LDADD = lib/libquarry_malloc.la
tests_examples_memory_resource_SOURCES = tests/examples/memory_resource.cc
tests_examples_memory_resource_CXXFLAGS = $(AM_CXXFLAGS) -std=c++17
$(MISUSE_TESTS): lib/libquarry_malloc.la

# === running =========================================================================================================

AM_TESTS_ENVIRONMENT = \
	export QUARRY_BUILD_DIR='$(abs_top_builddir)' QUARRY_SOURCE_DIR='$(abs_top_srcdir)' \
	CC='$(CC)' CXX='$(CXX)' NM='$(NM)' QUARRY_URCU_CFLAGS='$(URCU_CFLAGS)' QUARRY_URCU_LIBS='$(URCU_LIBS)' QUARRY_HAVE_CXX='$(have_cxx)' \
	QUARRY_ALL_HARDENED='$(QUARRY_ALL_HARDENED)' QUARRY_CHECKS='$(QUARRY_CHECKS)' \
	TSAN_OPTIONS="$${TSAN_OPTIONS-halt_on_error=1 second_deadlock_stack=1}" \
	UBSAN_OPTIONS="$${UBSAN_OPTIONS-halt_on_error=1:print_stacktrace=1:suppressions=$(abs_top_srcdir)/tests/ubsan.supp}";
if HAVE_CXX
have_cxx = yes
else
have_cxx =
endif

TEST_EXTENSIONS = .sh
LOG_COMPILER = $(top_srcdir)/tests/run-test
SH_LOG_COMPILER = $(top_srcdir)/tests/run-test

# The Check suites alone.
.PHONY: check-unit
check-unit:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(UNIT_TESTS)'

# Real programs, models, and the other tests at full length and size: some minutes.
.PHONY: check-long
check-long: $(DEMO_PARTS) $(BENCH_LOADS)
	QUARRY_TEST_FULL=1 QUARRY_TEST_SECONDS="$${QUARRY_TEST_SECONDS-20}" QUARRY_TEST_LIMIT="$${QUARRY_TEST_LIMIT-600}" \
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(LONG_TESTS) $(ABI_TESTS) $(FAULT_TESTS) $(STRESS_TESTS) $(FUZZ_TESTS)'

# The storm of 64 threads for STORM_SECONDS; half an hour by default.
STORM_SECONDS = 1800
.PHONY: check-storm
check-storm:
	QUARRY_TEST_SECONDS='$(STORM_SECONDS)' QUARRY_TEST_LIMIT='$(STORM_SECONDS)0' \
	$(MAKE) $(AM_MAKEFLAGS) check TESTS=tests/stress/storm; \
	status=$$?; cat tests/stress/storm.log; exit $$status
# The misuse matrix with other malloc libraries beside Quarry's two: a table, and misuse.json.
.PHONY: misuse-matrix
misuse-matrix: all $(MATRIX_PARTS)
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/tests/misuse/matrix --peers --json misuse.json \
		--default lib/.libs/libquarry_malloc.so --hardened lib/.libs/libquarry_malloc_hardened.so $(MATRIX_ARGS)

# A script, though a .c and a .sh have its name: make's own rules would replace it when these are newer.
tests/misuse/matrix: ;

# What the build with everything hardened is held to. Of the black box, what is not about the default build's memory and
# address space.
HARDENED_TESTS = $(MISUSE_TESTS) $(MATRIX_TESTS) $(UNIT_TESTS) \
	tests/stress/exchange tests/stress/heaps tests/stress/inspect tests/stress/model tests/stress/objects \
	tests/stress/remote tests/stress/storm \
	tests/abi/address_space tests/abi/cancel tests/abi/contract tests/abi/fork_storm tests/abi/idle_threads tests/abi/introspection \
	tests/abi/mappings tests/abi/plugins tests/abi/refused_calls tests/abi/signals tests/abi/small_stacks tests/abi/thread_churn \
	tests/abi/zeroing
.PHONY: check-hardened
check-hardened:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(HARDENED_TESTS)'

# Unit and stress tests with larger pages, pretended (tests/pages/larger.c). Some suites count by units of 16 KiB and hold
# only where a page is no more than that.
PAGE_TESTS = $(UNIT_TESTS) $(STRESS_TESTS)
BY_UNIT_TESTS = \
	tests/unit/check_arena \
	tests/unit/check_arena_list \
	tests/unit/check_large \
	tests/unit/check_object_cache \
	tests/unit/check_purge
BY_KERNEL_PAGE_TESTS = \
	tests/unit/check_provider
.PHONY: check-pages
check-pages: check-pages-16384 check-pages-65536
check-pages-65536: except = $(BY_UNIT_TESTS) $(BY_KERNEL_PAGE_TESTS)
check-pages-16384: except = $(BY_KERNEL_PAGE_TESTS)
check-pages-65536: check-pages-16384
check-pages-%: tests/pages/larger.so
	QUARRY_TEST_LAUNCHER='env -u QUARRY_PRELOAD QUARRY_TEST_PAGE_NBYTES=$* LD_PRELOAD=$(abs_builddir)/tests/pages/larger.so' \
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(filter-out $(except),$(PAGE_TESTS))'
tests/pages/larger.so: tests/pages/larger.c
	$(AM_V_GEN)$(MKDIR_P) tests/pages && $(CC) $(CFLAGS) -fPIC -shared -o $@ $(srcdir)/tests/pages/larger.c
CLEANFILES += tests/pages/larger.so

# Where memory lies in machines with several nodes, emulated: some minutes. NUMA_ARGS go to the script (--help), and
# check-numa-peers does the same on other allocators as well.
.PHONY: check-numa check-numa-peers
check-numa: all $(NUMA_PARTS)
	QUARRY_BUILD_DIR='$(abs_top_builddir)' QUARRY_PKGLIBDIR='$(pkglibdir)' $(top_srcdir)/tests/numa/check $(NUMA_ARGS) || \
	test $$? -eq 77
check-numa-peers:
	$(MAKE) $(AM_MAKEFLAGS) check-numa NUMA_ARGS='--peers $(NUMA_ARGS)'

# Search for new inputs: FUZZ_SECONDS (60) for each fuzzer, in fuzz/ below the build directory.
.PHONY: fuzz
fuzz:
	AM_CPPFLAGS='$(AM_CPPFLAGS)' $(srcdir)/tests/fuzz/run $(core_rooms)

# All of what tests/RESULTS.md shows, anew: three hours.
.PHONY: evidence
evidence: all
	$(top_srcdir)/tests/evidence --build '$(abs_builddir)'

# Lines and branches of lib/ that the tests reach, in a build of its own. Nothing is held to time or size there.
COVERED_TESTS = $(UNIT_TESTS) $(FAULT_TESTS) $(STRESS_TESTS) $(FUZZ_TESTS) tests/abi/contract tests/abi/introspection \
	tests/abi/operators tests/abi/fork_storm tests/abi/refused_calls
.PHONY: coverage check-covered
coverage: check-variant-coverage
check-covered:
	$(MAKE) $(AM_MAKEFLAGS) -k check TESTS='$(COVERED_TESTS)'

# Debian packages, built and looked into; lintian has its say.
.PHONY: check-packages
check-packages: variant-source
	$(top_srcdir)/tests/packages.sh variants/source || test $$? -eq 77 -a "$${QUARRY_TEST_REQUIRE-0}" != 1

# The tests in builds of other kinds, each in a directory of its own below variants/: tests/variant knows them.
.PHONY: check-sanitizers check-variants
check-sanitizers: check-variant-tsan check-variant-asan
check-variants: check-variant-clang check-variant-classic check-variant-debug check-variant-hardened check-variant-valgrind \
	check-variant-aarch64

.PHONY: variant-source
variant-source:
	@$(MKDIR_P) variants && echo '*' >variants/.gitignore
	$(MAKE) $(AM_MAKEFLAGS) distdir distdir=variants/source
check-variant-%: variant-source
	MAKE='$(MAKE) $(AM_MAKEFLAGS)' $(top_srcdir)/tests/variant $*

clean-local:
	rm -rf variants numa

installcheck-local:
	$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/tests/structure/installed.sh '$(DESTDIR)$(pkgconfigdir)'
