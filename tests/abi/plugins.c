/* SPDX-License-Identifier: MIT */
/*
 * 50 libraries with thread-local storage and allocating constructors come and go; their blocks outlive them.
 *
 * The libraries are copies of one that the test compiles with cc. More than about 40 of them outgrow the thread vector
 * of libc, which then calls malloc from inside __tls_get_addr, also for a thread whose first malloc that is.
 * Besides: the static TLS of the preloaded library is small, and the library can be loaded by dlopen and stays.
 */
#include "blackbox.h"

#include <link.h>
#include <malloc.h>
#include <pthread.h>

#define PLUGINS 50
#define ROUNDS 3
#define STATIC_TLS_MOST 512

static const char source[] =
	"#include <stdlib.h>\n"
	"#include <string.h>\n"
	"static __thread char local[200] = { 1 };\n"
	"static __thread void *held;\n"
	"static void *early[50];\n"
	"__attribute__((constructor)) static void begin(void)\n"
	"{ for (int i = 0; i < 50; i++) memset(early[i] = malloc(20 + 100 * i), i, 20 + 100 * i); }\n"
	"__attribute__((destructor)) static void end(void)\n"
	"{ for (int i = 0; i < 50; i++) { if (*(char *)early[i] != (char)i) abort(); free(early[i]); } }\n"
	"void *plugin_block(size_t nbytes)\n"
	"{ local[nbytes % 200]++; free(held); held = malloc(local[0] + 100); return calloc(1, nbytes); }\n"
	"void plugin_leave(void) { free(held); held = 0; }\n";

static int images[PLUGINS];
static void *handles[PLUGINS];
static pthread_barrier_t barrier;

/* Compile once, copy 50 times into memory files: to the loader each is a library of its own, and none is left over. */
static void build_plugins(void)
{
	static char library[MIB];
	char path[] = "/tmp/quarry-plugin-XXXXXX", command[256];
	int file = mkstemp(path);

	CHECK(file >= 0);
	snprintf(command, sizeof command,
		 "env -u LD_PRELOAD ${CC:-cc} -fPIC -shared -ftls-model=global-dynamic -x c -o %s -", path);
	FILE *compiler = popen(command, "w");
	CHECK(compiler != NULL && fputs(source, compiler) >= 0);
	int status = pclose(compiler);
	close(file);
	/* The compiler may have made a new file under the name. */
	file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t nbytes = file >= 0 ? read(file, library, sizeof library) : -1;
	close(file);
	unlink(path);
	if (status != 0 || nbytes <= 0)
		SKIP("no compiler: %s fails", getenv("CC") != NULL ? getenv("CC") : "cc");
	for (int i = 0; i < PLUGINS; i++) {
		images[i] = memfd_create("plugin", MFD_CLOEXEC);
		CHECK(images[i] >= 0 && write(images[i], library, (size_t)nbytes) == nbytes);
	}
}

static void load_all(void)
{
	for (int i = 0; i < PLUGINS; i++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/self/fd/%d", images[i]);
		handles[i] = dlopen(path, i % 2 == 0 ? RTLD_NOW : RTLD_LAZY);
		CHECKF(handles[i] != NULL, "  %s", dlerror());
	}
}

/* Use each library's TLS in this thread: libc grows the thread's vector with malloc. */
static void *use_all(void *result)
{
	void **blocks = result;

	for (int i = PLUGINS - 1; i >= 0; i--) {
		void *(*block)(size_t);
		void (*leave)(void);
		*(void **)&block = dlsym(handles[i], "plugin_block");
		*(void **)&leave = dlsym(handles[i], "plugin_leave");
		CHECK(block != NULL && leave != NULL);
		size_t nbytes = 10 + 333 * (size_t)i;
		blocks[i] = block(nbytes);
		CHECK(blocks[i] != NULL && is_zero(blocks[i], nbytes));
		pattern_fill(blocks[i], nbytes, 6);
		leave();
	}
	return NULL;
}

/* Started before any library is there. */
static void *early_thread(void *result)
{
	free(malloc(100));
	pthread_barrier_wait(&barrier);
	return use_all(result);
}

static void load_use_unload(void)
{
	static void *blocks[3][PLUGINS];
	pthread_t early, late;

	CHECK(pthread_create(&early, NULL, early_thread, blocks[0]) == 0);
	load_all();
	pthread_barrier_wait(&barrier);
	CHECK(pthread_create(&late, NULL, use_all, blocks[1]) == 0);
	use_all(blocks[2]);
	CHECK(pthread_join(early, NULL) == 0 && pthread_join(late, NULL) == 0);
	for (int i = 0; i < PLUGINS; i++)
		CHECK(dlclose(handles[i]) == 0);
	for (int i = 0; i < PLUGINS; i++)
		for (int j = 0; j < 3; j++) {
			pattern_check(blocks[j][i], 10 + 333 * (size_t)i, 6);
			free(blocks[j][i]);
		}
}

static int find_static_tls(struct dl_phdr_info *info, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	if (strstr(info->dlpi_name, "quarry") == NULL)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_TLS)
			CHECKF(info->dlpi_phdr[i].p_memsz <= STATIC_TLS_MOST, "  %s has %zu bytes of TLS",
			       info->dlpi_name, (size_t)info->dlpi_phdr[i].p_memsz);
	return 0;
}

/* In a process without the preload: it loads late, works, and is never unloaded under the blocks of its users. */
static int late_load(void)
{
	void *library = dlopen(getenv("QUARRY_PRELOAD"), RTLD_NOW);
	CHECKF(library != NULL, "  %s", dlerror());
	void *(*allocate)(size_t);
	void (*release)(void *);
	*(void **)&allocate = dlsym(library, "quarry_malloc");
	*(void **)&release = dlsym(library, "quarry_free");
	CHECK(allocate != NULL && release != NULL);
	void *block = allocate(1000);
	CHECK(block != NULL);
	pattern_fill(block, 1000, 1);
	CHECK(dlclose(library) == 0);
	pattern_check(block, 1000, 1);
	release(block);
	release(allocate(10));
	return 0;
}

int main(int argc, char **argv)
{
	size_t before = 0;

	test_start(120);
	if (argc == 2 && strcmp(argv[1], "late") == 0)
		return late_load();
	dl_iterate_phdr(find_static_tls, NULL);
	if (getenv("QUARRY_PRELOAD") != NULL && getenv("LD_PRELOAD") != NULL) {
		char *preload = strdup(getenv("LD_PRELOAD"));
		unsetenv("LD_PRELOAD");
		CHECK(run_self("late", NULL) == 0);
		setenv("LD_PRELOAD", preload, 1);
		free(preload);
	}
	build_plugins();
	CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
	for (int round = 0; round < ROUNDS; round++) {
		load_use_unload();
		malloc_trim(0);
		if (round == 0)
			before = resident();
	}
	CHECKF(resident() <= before + MIB, "  resident after the first round %zu KiB, now %zu", before / KIB,
	       resident() / KIB);
	return 0;
}
