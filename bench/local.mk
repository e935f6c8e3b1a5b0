# SPDX-License-Identifier: MIT
# Benchmarks and the demo: built and run on request only.

EXTRA_PROGRAMS =

.PHONY: bench demo
bench: all
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/bench/run

demo: all
	QUARRY_BUILD_DIR='$(abs_top_builddir)' $(top_srcdir)/bench/demo
