/* SPDX-License-Identifier: MIT */
/*
 * operators: C++'s new and delete, under their mangled names, in a library that does not need C++.
 *
 * Owns       the twenty operators and what they do when memory is out.
 * Invariants 1. A program may replace any of them. As in the standard library the other forms then lead to the
 *               replacement: new[] calls new, sized delete calls delete, and so on. Each asks whether the operator it
 *               would call is still ours and only then goes straight to the heap; that costs one load and compare.
 *            2. They are weak, so that a program linked with the static archive may replace them too.
 *            3. The C++ runtime is asked for (std::get_new_handler, the thrower of bad_alloc) by weak references. In a
 *               C program that loads C++ plugins these are empty, and the runtime is looked up when it is needed.
 * Compiled   with unwind tables: bad_alloc, and what a new_handler throws, pass through here.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "compiler.h"
#include "entry.h"
#include "quarry/quarry.h"
#include "report.h"

_Static_assert(__builtin_types_compatible_p(size_t, unsigned long), "size_t is mangled as m");

/* std::nothrow_t, of which only the address is ever passed. */
struct nothrow;

/* An operator: visible to the program, weak, and known here as NAME; NAME_ours is it whatever the program defines. */
#define OPERATOR(result, name, mangled, ...)                                                                           \
	QUARRY_SURFACE __attribute__((weak)) result name(__VA_ARGS__) __asm__(mangled);                                    \
	static __typeof__(name) name##_ours __attribute__((alias(mangled), unused))

OPERATOR(void *, new_plain, "_Znwm", size_t nbytes);
OPERATOR(void *, new_array, "_Znam", size_t nbytes);
OPERATOR(void *, new_nothrow, "_ZnwmRKSt9nothrow_t", size_t nbytes, const struct nothrow *tag);
OPERATOR(void *, new_array_nothrow, "_ZnamRKSt9nothrow_t", size_t nbytes, const struct nothrow *tag);
OPERATOR(void *, new_aligned, "_ZnwmSt11align_val_t", size_t nbytes, size_t alignment);
OPERATOR(void *, new_array_aligned, "_ZnamSt11align_val_t", size_t nbytes, size_t alignment);
OPERATOR(void *, new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t", size_t nbytes, size_t alignment,
	 const struct nothrow *tag);
OPERATOR(void *, new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t", size_t nbytes, size_t alignment,
	 const struct nothrow *tag);

OPERATOR(void, delete_plain, "_ZdlPv", void *ptr);
OPERATOR(void, delete_array, "_ZdaPv", void *ptr);
OPERATOR(void, delete_nothrow, "_ZdlPvRKSt9nothrow_t", void *ptr, const struct nothrow *tag);
OPERATOR(void, delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", void *ptr, const struct nothrow *tag);
OPERATOR(void, delete_sized, "_ZdlPvm", void *ptr, size_t nbytes);
OPERATOR(void, delete_array_sized, "_ZdaPvm", void *ptr, size_t nbytes);
OPERATOR(void, delete_aligned, "_ZdlPvSt11align_val_t", void *ptr, size_t alignment);
OPERATOR(void, delete_array_aligned, "_ZdaPvSt11align_val_t", void *ptr, size_t alignment);
OPERATOR(void, delete_sized_aligned, "_ZdlPvmSt11align_val_t", void *ptr, size_t nbytes, size_t alignment);
OPERATOR(void, delete_array_sized_aligned, "_ZdaPvmSt11align_val_t", void *ptr, size_t nbytes, size_t alignment);
OPERATOR(void, delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t", void *ptr, size_t alignment,
	 const struct nothrow *tag);
OPERATOR(void, delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t", void *ptr, size_t alignment,
	 const struct nothrow *tag);

/* Whether a call of the operator would reach ours. The compiler may not answer: only the linker knows. */
#define IS_OURS(name) is_same((const void *)name, (const void *)name##_ours)

static force_inline bool is_same(const void *visible, const void *ours)
{
	__asm__("" : "+r"(visible));
	return likely(visible == ours);
}

/* --- the C++ runtime ---------------------------------------------------------------------------------------------- */

typedef void (*new_handler_fn)(void);

extern new_handler_fn get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));
extern __typeof__(dlopen) dlopen __attribute__((weak));
extern __typeof__(dlsym) dlsym __attribute__((weak));
extern __typeof__(dlclose) dlclose __attribute__((weak));
extern __typeof__(dladdr) dladdr __attribute__((weak));

/* A function of the runtime. */
struct runtime_symbol {
	const char *name;
	_Atomic(void *) address; /* in a shared runtime, once it was found there; such a runtime then stays loaded */
};

/* The program's own scope is not searched: another allocator there would find its way into our heap. */
static void *find_in_shared_runtime(const char *name)
{
	static const char *const runtimes[] = { "libstdc++.so.6", "libc++.so.1", "libc++abi.so.1" };
	void *address = NULL;

	for (size_t i = 0; i < sizeof runtimes / sizeof runtimes[0] && !address; i++) {
		void *runtime = dlopen(runtimes[i], RTLD_LAZY | RTLD_NOLOAD);

		if (runtime)
			address = dlsym(runtime, name);
	}
	return address;
}

/* A plugin may bring a static copy of the runtime. It cannot go while its own call is under way. */
static void *find_in_module(const void *caller, const char *name)
{
	Dl_info module, found, ours;
	void *handle, *address;

	if (!dladdr || !dlclose || !dladdr(caller, &module) || !dladdr((const void *)new_plain_ours, &ours))
		return NULL;
	handle = dlopen(module.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return NULL;
	address = dlsym(handle, name);
	dlclose(handle);
	/* It may depend on this library, but our own operators are not what is looked for. */
	if (!address || !dladdr(address, &found) || found.dli_fbase == ours.dli_fbase)
		return NULL;
	return address;
}

static cold_path void *find_in_runtime(struct runtime_symbol *symbol, const void *caller)
{
	void *address = atomic_load_explicit(&symbol->address, memory_order_relaxed);

	if (address || !dlopen || !dlsym)
		return address;
	address = find_in_shared_runtime(symbol->name);
	if (!address)
		return find_in_module(caller, symbol->name);
	atomic_store_explicit(&symbol->address, address, memory_order_relaxed);
	return address;
}

static new_handler_fn current_new_handler(const void *caller)
{
	static struct runtime_symbol symbol = { .name = "_ZSt15get_new_handlerv" };
	new_handler_fn (*get)(void) = get_new_handler;

	if (!get)
		*(void **)&get = find_in_runtime(&symbol, caller);
	return get ? get() : NULL;
}

static _Noreturn void fail(const void *caller)
{
	static struct runtime_symbol symbol = { .name = "_ZSt17__throw_bad_allocv" };
	void (*throw)(void) = throw_bad_alloc;

	if (!throw)
		*(void **)&throw = find_in_runtime(&symbol, caller);
	if (throw)
		throw();
	report_line("operator new: out of memory, and no C++ runtime to throw bad_alloc");
	abort();
}

/* --- new ---------------------------------------------------------------------------------------------------------- */

/* No alignment of its own. */
#define UNALIGNED 0

/* Memory was refused: the new_handler may free some, throw, or remove itself. */
static cold_path void *new_again(size_t nbytes, size_t alignment, const void *caller)
{
	for (;;) {
		new_handler_fn handler = current_new_handler(caller);
		void *ptr;

		if (!handler)
			fail(caller);
		handler();
		ptr = alignment == UNALIGNED ? quarry_malloc(nbytes) : quarry_aligned_alloc(alignment, nbytes);
		if (ptr)
			return ptr;
	}
}

/*
 * The runtime's own nothrow forms call the throwing operator (ours, or the program's) and catch what comes out, which C
 * cannot. They are needed only when there is a handler or a replacement that might throw. Without a shared runtime the
 * handler is not called, for nothing could stop its exception.
 */
typedef void *(*nothrow_fn)(size_t nbytes, const struct nothrow *tag);
typedef void *(*aligned_nothrow_fn)(size_t nbytes, size_t alignment, const struct nothrow *tag);

static struct runtime_symbol caught_plain = { .name = "_ZnwmRKSt9nothrow_t" };
static struct runtime_symbol caught_array = { .name = "_ZnamRKSt9nothrow_t" };
static struct runtime_symbol caught_aligned = { .name = "_ZnwmSt11align_val_tRKSt9nothrow_t" };
static struct runtime_symbol caught_array_aligned = { .name = "_ZnamSt11align_val_tRKSt9nothrow_t" };

static cold_path void *nothrow_again(size_t nbytes, const struct nothrow *tag, const void *caller)
{
	nothrow_fn caught = NULL;

	if (current_new_handler(caller))
		*(void **)&caught = find_in_runtime(&caught_plain, caller);
	return caught ? caught(nbytes, tag) : NULL;
}

static cold_path void *aligned_nothrow_again(size_t nbytes, size_t alignment, const struct nothrow *tag,
					     const void *caller)
{
	aligned_nothrow_fn caught = NULL;

	if (current_new_handler(caller))
		*(void **)&caught = find_in_runtime(&caught_aligned, caller);
	return caught ? caught(nbytes, alignment, tag) : NULL;
}

/* The program's own new, which may throw. Where nothing can catch it is called all the same: its memory is meant. */
static cold_path void *nothrow_replaced(__typeof__(new_plain) *replaced, struct runtime_symbol *symbol, size_t nbytes,
					const struct nothrow *tag, const void *caller)
{
	nothrow_fn caught;

	*(void **)&caught = find_in_runtime(symbol, caller);
	return caught ? caught(nbytes, tag) : replaced(nbytes);
}

static cold_path void *aligned_nothrow_replaced(__typeof__(new_aligned) *replaced, struct runtime_symbol *symbol,
						size_t nbytes, size_t alignment, const struct nothrow *tag,
						const void *caller)
{
	aligned_nothrow_fn caught;

	*(void **)&caught = find_in_runtime(symbol, caller);
	return caught ? caught(nbytes, alignment, tag) : replaced(nbytes, alignment);
}

/* Read where an operator begins to go wrong. */
#define CALLER __builtin_return_address(0)

void *new_plain(size_t nbytes)
{
	void *ptr = entry_malloc(nbytes);

	return likely(ptr) ? ptr : new_again(nbytes, UNALIGNED, CALLER);
}

void *new_array(size_t nbytes)
{
	void *ptr;

	if (!IS_OURS(new_plain))
		return new_plain(nbytes);
	ptr = entry_malloc(nbytes);
	return likely(ptr) ? ptr : new_again(nbytes, UNALIGNED, CALLER);
}

void *new_nothrow(size_t nbytes, const struct nothrow *tag)
{
	void *ptr;

	if (!IS_OURS(new_plain))
		return nothrow_replaced(new_plain, &caught_plain, nbytes, tag, CALLER);
	ptr = entry_malloc(nbytes);
	return likely(ptr) ? ptr : nothrow_again(nbytes, tag, CALLER);
}

void *new_array_nothrow(size_t nbytes, const struct nothrow *tag)
{
	void *ptr;

	if (!IS_OURS(new_array) || !IS_OURS(new_plain))
		return nothrow_replaced(new_array, &caught_array, nbytes, tag, CALLER);
	ptr = entry_malloc(nbytes);
	return likely(ptr) ? ptr : nothrow_again(nbytes, tag, CALLER);
}

void *new_aligned(size_t nbytes, size_t alignment)
{
	void *ptr = quarry_aligned_alloc(alignment, nbytes);

	return likely(ptr) ? ptr : new_again(nbytes, alignment, CALLER);
}

void *new_array_aligned(size_t nbytes, size_t alignment)
{
	return new_aligned(nbytes, alignment);
}

void *new_aligned_nothrow(size_t nbytes, size_t alignment, const struct nothrow *tag)
{
	void *ptr;

	if (!IS_OURS(new_aligned))
		return aligned_nothrow_replaced(new_aligned, &caught_aligned, nbytes, alignment, tag, CALLER);
	ptr = quarry_aligned_alloc(alignment, nbytes);
	return likely(ptr) ? ptr : aligned_nothrow_again(nbytes, alignment, tag, CALLER);
}

void *new_array_aligned_nothrow(size_t nbytes, size_t alignment, const struct nothrow *tag)
{
	if (!IS_OURS(new_array_aligned))
		return aligned_nothrow_replaced(new_array_aligned, &caught_array_aligned, nbytes, alignment, tag,
						CALLER);
	return new_aligned_nothrow(nbytes, alignment, tag);
}

/* --- delete ------------------------------------------------------------------------------------------------------- */

void delete_plain(void *ptr)
{
	entry_free(ptr);
}

void delete_array(void *ptr)
{
	if (IS_OURS(delete_plain))
		entry_free(ptr);
	else
		delete_plain(ptr);
}

void delete_nothrow(void *ptr, const struct nothrow *tag)
{
	(void)tag;
	delete_plain(ptr);
}

void delete_array_nothrow(void *ptr, const struct nothrow *tag)
{
	(void)tag;
	delete_array(ptr);
}

/* Whoever replaced new, but not delete, may have made the block a larger one. */
static cold_path void delete_checked(void *ptr, size_t nbytes)
{
	entry_free_checked(ptr, nbytes, IS_OURS(new_plain));
}

static force_inline void delete_of_size(void *ptr, size_t nbytes)
{
	if (unlikely(!entry_free_if_of_size(ptr, nbytes)))
		delete_checked(ptr, nbytes);
}

/* Since C++14 what a delete expression calls for an object whose type is complete. */
void delete_sized(void *ptr, size_t nbytes)
{
	if (IS_OURS(delete_plain))
		delete_of_size(ptr, nbytes);
	else
		delete_plain(ptr);
}

void delete_array_sized(void *ptr, size_t nbytes)
{
	if (IS_OURS(delete_array) && IS_OURS(delete_plain))
		delete_of_size(ptr, nbytes);
	else
		delete_array(ptr);
}

void delete_aligned(void *ptr, size_t alignment)
{
	(void)alignment;
	entry_free(ptr);
}

void delete_array_aligned(void *ptr, size_t alignment)
{
	delete_aligned(ptr, alignment);
}

void delete_sized_aligned(void *ptr, size_t nbytes, size_t alignment)
{
	(void)nbytes;
	delete_aligned(ptr, alignment);
}

void delete_array_sized_aligned(void *ptr, size_t nbytes, size_t alignment)
{
	(void)nbytes;
	delete_array_aligned(ptr, alignment);
}

void delete_aligned_nothrow(void *ptr, size_t alignment, const struct nothrow *tag)
{
	(void)tag;
	delete_aligned(ptr, alignment);
}

void delete_array_aligned_nothrow(void *ptr, size_t alignment, const struct nothrow *tag)
{
	(void)tag;
	delete_array_aligned(ptr, alignment);
}
