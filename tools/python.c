/* SPDX-License-Identifier: MIT */
/*
 * quarry-python: the system's CPython with its memory from Quarry.
 *
 * CPython asks for memory in three domains (PEP 445): raw, mem and obj. By --domains=all each is Quarry's, without
 * pymalloc in between; by arena pymalloc stays and only its arenas come from Quarry; by none nothing is changed. libc's
 * malloc, which extensions call, is left alone: that is for a preload.
 *
 * The allocators are set between CPython's preinitialization, which reads PYTHONMALLOC and would set them once more,
 * and its initialization, which allocates the first objects. They serve until the process ends.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "python.h"
#include "quarry/quarry.h"

/* What programs that this one starts by sys.executable do as well. */
#define INHERITED "QUARRY_PYTHON_DOMAINS"

/* obmalloc makes no use of what lies before the first pool of an arena. */
#define POOL_ALIGNMENT ((size_t)16 << 10)

enum domains { DOMAINS_ALL, DOMAINS_ARENA, DOMAINS_NONE };

struct request {
	enum domains domains;
	bool stats; /* at exit */
};

/* --- allocators --------------------------------------------------------------------------------------------------- */

static void *allocate(void *unused, size_t nbytes)
{
	(void)unused;
	return quarry_malloc(nbytes);
}

static void *allocate_zeroed(void *unused, size_t n, size_t nbytes)
{
	(void)unused;
	return quarry_calloc(n, nbytes);
}

/* By CPython's rule a block of no bytes is a block, in libc's realloc it is freed. */
static void *reallocate(void *unused, void *block, size_t nbytes)
{
	(void)unused;
	return quarry_realloc(block, nbytes == 0 ? 1 : nbytes);
}

static void release(void *unused, void *block)
{
	(void)unused;
	quarry_free(block);
}

static void *allocate_arena(void *unused, size_t nbytes)
{
	(void)unused;
	return quarry_aligned_alloc(POOL_ALIGNMENT, nbytes);
}

static void release_arena(void *unused, void *block, size_t nbytes)
{
	(void)unused;
	(void)nbytes;
	quarry_free(block);
}

static bool set_debug_hooks(void)
{
	PyMemAllocatorEx before, after;

	PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &before);
	PyMem_SetupDebugHooks();
	PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &after);
	return before.malloc != after.malloc;
}

/* The debug hooks of PYTHONMALLOC=debug and -X dev, which are in place already, go over Quarry's allocators as well. */
static void set_domains(void)
{
	static const PyMemAllocatorDomain domains[] = { PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ };
	PyMemAllocatorEx allocator = { NULL, allocate, allocate_zeroed, reallocate, release };
	bool debugged = !set_debug_hooks();

	for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++)
		PyMem_SetAllocator(domains[i], &allocator);
	if (debugged)
		set_debug_hooks();
}

static void set_allocators(enum domains domains)
{
	PyObjectArenaAllocator arenas = { NULL, allocate_arena, release_arena };

	if (domains == DOMAINS_ALL)
		set_domains();
	else if (domains == DOMAINS_ARENA)
		PyObject_SetArenaAllocator(&arenas);
}

/* --- statistics --------------------------------------------------------------------------------------------------- */

/* sys._debugmallocstats as CPython has it: pymalloc's figures where it is in use, and free lists. */
static PyObject *original;

static PyObject *debug_malloc_stats(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	python_report(stderr);
	return PyObject_CallNoArgs(original);
}

static PyMethodDef debug_malloc_stats_method = {
	"_debugmallocstats", debug_malloc_stats, METH_NOARGS,
	"Print what Quarry holds, and then CPython's own figures, to stderr."
};

/* What is registered first is called last, when the program's own functions are through and its objects still live. */
static bool call_at_exit(PyObject *function)
{
	PyObject *module = PyImport_ImportModule("atexit");
	PyObject *result = module ? PyObject_CallMethod(module, "register", "O", function) : NULL;

	Py_XDECREF(result);
	Py_XDECREF(module);
	return result != NULL;
}

static bool show_statistics(bool at_exit)
{
	PyObject *function = PyCFunction_New(&debug_malloc_stats_method, NULL);
	bool done;

	original = Py_XNewRef(PySys_GetObject("_debugmallocstats"));
	done = function && original && PySys_SetObject("_debugmallocstats", function) == 0 &&
	       (!at_exit || call_at_exit(function));
	Py_XDECREF(function);
	return done;
}

/* --- command ------------------------------------------------------------------------------------------------------ */

static void help(void)
{
	puts("usage: quarry-python [--domains=all|arena|none] [--malloc-stats] [ARGUMENT...]\n\n"
	     "Run CPython on Quarry; the arguments are python's.\n\n"
	     "  --domains=all    all that CPython allocates comes from Quarry, without pymalloc (the default)\n"
	     "  --domains=arena  pymalloc stays, and its arenas come from Quarry\n"
	     "  --domains=none   CPython as it is\n"
	     "  --malloc-stats   when the program ends, write what sys._debugmallocstats() writes");
}

static bool parse_domains(const char *word, enum domains *domains)
{
	static const char *const words[] = { "all", "arena", "none" };

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (strcmp(word, words[i]) == 0) {
			*domains = (enum domains)i;
			return true;
		}
	}
	fprintf(stderr, "quarry-python: %s: the domains are all, arena or none\n", word);
	return false;
}

/* Returns how many arguments were the launcher's own; -1: a wrong one, -2: nothing is left to do. */
static int parse(struct request *request, int argc, char **argv)
{
	static const char domains[] = "--domains=";
	const char *inherited = getenv(INHERITED);
	int i;

	if (inherited && !parse_domains(inherited, &request->domains))
		return -1;
	for (i = 1; i < argc; i++) {
		const char *word = argv[i] + sizeof domains - 1;

		if (strcmp(argv[i], "--malloc-stats") == 0) {
			request->stats = true;
		} else if (strncmp(argv[i], domains, sizeof domains - 1) == 0) {
			if (!parse_domains(word, &request->domains))
				return -1;
			setenv(INHERITED, word, 1);
		} else if (strcmp(argv[i], "--help") == 0) {
			help();
			return -2;
		} else {
			break;
		}
	}
	return i - 1;
}

/* As Py_BytesMain does it. */
static PyStatus begin(const struct request *request, int argc, char **argv)
{
	PyPreConfig preconfig;
	PyConfig config;
	PyStatus status;

	PyPreConfig_InitPythonConfig(&preconfig);
	status = Py_PreInitializeFromBytesArgs(&preconfig, argc, argv);
	if (PyStatus_Exception(status))
		return status;
	set_allocators(request->domains);
	PyConfig_InitPythonConfig(&config);
	status = PyConfig_SetBytesArgv(&config, argc, argv);
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	return status;
}

int main(int argc, char **argv)
{
	struct request request = { .domains = DOMAINS_ALL };
	int own = parse(&request, argc, argv);
	PyStatus status;

	if (own < 0)
		return own == -2 ? 0 : 125;
	argv[own] = argv[0];
	status = begin(&request, argc - own, argv + own);
	if (PyStatus_Exception(status))
		Py_ExitStatusException(status);
	if (request.domains != DOMAINS_NONE && !show_statistics(request.stats)) {
		PyErr_Print();
		return 1;
	}
	return Py_RunMain();
}
