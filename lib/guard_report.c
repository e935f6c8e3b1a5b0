/* SPDX-License-Identifier: MIT */
/*
 * Guard report: see guard_report.h.
 */
#include "guard_report.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "guard.h"
#include "os.h"
#include "report.h"
#include "unwind.h"

#define relaxed memory_order_relaxed

/* So often a report tries to get the lock: it may have interrupted who holds it. */
#define LOCK_TRIES 10000

static struct sigaction before; /* ours; constant once it is in its place */
static _Atomic bool ending;     /* a fault was reported that ends the process */

/* --- stacks ------------------------------------------------------------------------------------------------------- */

static const char *program_path(char *path, size_t size)
{
	long nbytes = syscall(SYS_readlinkat, -1, "/proc/self/exe", path, size - 1);
	path[nbytes > 0 ? nbytes : 0] = 0;
	return nbytes > 0 ? path : "program";
}

/* A return address stands behind its call, which may be the last of its function: one less is in it for sure. */
static void say_frame(unsigned number, uintptr_t pc, bool is_return)
{
	struct dl_find_object object;
	char path[128];
	pc -= is_return;
	if (_dl_find_object((void *)pc, &object) != 0) {
		report_line("    #%u %p", number, (void *)pc);
		return;
	}
	const char *name = object.dlfo_link_map->l_name;
	report_line("    #%u %p %s+0x%lx", number, (void *)pc, name[0] != 0 ? name : program_path(path, sizeof(path)),
		    (unsigned long)(pc - object.dlfo_link_map->l_addr));
}

static void say_trace(const char *what, const struct guard_trace *trace)
{
	if (trace->thread == 0)
		return;
	report_line("  %s by thread %u:", what, trace->thread);
	for (uint32_t i = 0; i < trace->nframes && i < GUARD_FRAMES; i++)
		say_frame(i, trace->frames[i], true);
}

static void say_history(const struct guard_slot *slot)
{
	say_trace("freed", &slot->freed);
	say_trace("allocated", &slot->allocated);
}

/* --- the lock ----------------------------------------------------------------------------------------------------- */

static bool try_lock(void)
{
	for (int i = 0; i < LOCK_TRIES; i++)
		if (lock_try(&guard_lock, LOCK_META))
			return true;
	return false;
}

static void unlock_if(bool locked)
{
	if (locked)
		lock_drop(&guard_lock, LOCK_META);
}

/* --- misuse that calls find --------------------------------------------------------------------------------------- */

void guard_report_misuse(const char *what, const void *ptr)
{
	struct guard_trace now;
	const struct guard_slot *slot = guard_slot_near(ptr);
	guard_note(&now);
	bool locked = try_lock();
	if (slot->address == NULL)
		report_line("%s of %p, a closed place among guarded blocks", what, ptr);
	else if (slot->address == ptr)
		report_line("%s of %p, a guarded block of %zu bytes", what, ptr, slot->nbytes);
	else
		report_line("%s of %p, near the guarded block of %zu bytes at %p", what, ptr, slot->nbytes,
			    (void *)slot->address);
	say_trace("found in a call", &now);
	if (slot->address != NULL)
		say_history(slot);
	unlock_if(locked);
	report_end();
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

/* What the processor says of the access. */
static const char *access_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	return context->uc_mcontext.gregs[REG_ERR] & 2 ? "write" : "read";
#elif defined(__aarch64__)
	const unsigned char *at = context->uc_mcontext.__reserved;
	struct _aarch64_ctx head;
	for (;; at += head.size) {
		memcpy(&head, at, sizeof(head));
		if (head.magic == 0 || head.size == 0)
			return "access";
		if (head.magic == ESR_MAGIC)
			break;
	}
	struct esr_context esr;
	memcpy(&esr, at, sizeof(esr));
	return esr.esr & 0x40 ? "write" : "read";
#else
	(void)context;
	return "access";
#endif
}

static unsigned trace_of(const ucontext_t *context, uintptr_t *frames)
{
#if defined(__x86_64__)
	const greg_t *registers = context->uc_mcontext.gregs;
	return unwind_stack_from((uintptr_t)registers[REG_RIP], (uintptr_t)registers[REG_RSP],
				 (uintptr_t)registers[REG_RBP], frames, GUARD_FRAMES);
#elif defined(__aarch64__)
	const mcontext_t *registers = &context->uc_mcontext;
	return unwind_stack_from(registers->pc, registers->sp, registers->regs[29], frames, GUARD_FRAMES);
#else
	(void)context;
	(void)frames;
	return 0;
#endif
}

static size_t distance(const struct guard_slot *slot, const char *address)
{
	if (slot->address == NULL)
		return SIZE_MAX;
	if (address < slot->address)
		return (size_t)(slot->address - address);
	return address < slot->address + slot->nbytes ? 0 : (size_t)(address - slot->address) - slot->nbytes + 1;
}

/* Whose the closed place is: the slot's, or before it that of the one before, if its block is nearer. */
static struct guard_slot *slot_meant(const char *address)
{
	struct guard_slot *slot = guard_slot_near(address);
	bool between = slot > guard_pool.slots && address < guard_start_of(slot);
	if (between && distance(slot - 1, address) < distance(slot, address))
		slot--;
	return slot;
}

static void say_fault(const struct guard_slot *slot, const char *address, const char *access)
{
	size_t far = distance(slot, address);
	bool live = atomic_load_explicit(&slot->state, relaxed) == GUARD_LIVE, below = address < slot->address;
	if (slot->address == NULL)
		report_line("%s of %p, a closed place among guarded blocks", access, (const void *)address);
	else if (far == 0)
		report_line("use after free: %s of %p, byte %zu of a block of %zu bytes at %p", access,
			    (const void *)address, (size_t)(address - slot->address), slot->nbytes, (void *)slot->address);
	else
		report_line("%s: %s of %p, %zu byte%s %s a block of %zu bytes at %p%s", below ? "underflow" : "overflow",
			    access, (const void *)address, far, far == 1 ? "" : "s", below ? "before" : "behind",
			    slot->nbytes, (void *)slot->address, live ? "" : ", which is free");
}

static void report_fault_at(const char *address, const ucontext_t *context)
{
	uintptr_t frames[GUARD_FRAMES];
	bool locked = try_lock();
	const struct guard_slot *slot = slot_meant(address);
	say_fault(slot, address, access_of(context));
	report_line("  by thread %u:", os_thread_id());
	unsigned nframes = trace_of(context, frames);
	for (unsigned i = 0; i < nframes; i++)
		say_frame(i, frames[i], i > 0);
	if (slot->address != NULL)
		say_history(slot);
	unlock_if(locked);
}

/* For on_error:report. The slot is not used again if it was free: what lies in it is not as a fresh block is. */
static bool open_page(const char *address)
{
	struct guard_slot *slot = guard_slot_near(address);
	bool locked = try_lock();
	bool in_slot = address >= guard_start_of(slot);
	bool taken = locked && in_slot && guard_lose(slot);
	unlock_if(locked);
	char *page = (char *)((uintptr_t)address & ~(os_page_size() - 1));
	return (!in_slot || taken || slot->state != GUARD_FREE) && os_commit(page, os_page_size());
}

/* --- the handler -------------------------------------------------------------------------------------------------- */

/* A fault comes again when its instruction does; what somebody sent must be sent again. */
static void do_default(int number, const siginfo_t *info)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	if (before.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	sigaction(number, &action, NULL);
	if (info->si_code <= 0)
		syscall(SYS_tgkill, getpid(), os_thread_id(), number);
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	bool plain = (before.sa_flags & SA_SIGINFO) == 0;
	if (plain && (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN)) {
		do_default(number, info);
		return;
	}
	if ((before.sa_flags & (int)SA_RESETHAND) != 0)
		sigaction(number, &action, NULL);
	if (plain)
		before.sa_handler(number);
	else
		before.sa_sigaction(number, info, context);
}

/* Does the program go on? */
static bool handle(const char *address, const ucontext_t *context)
{
	if (report_is_fatal()) {
		if (!atomic_exchange(&ending, true))
			report_fault_at(address, context);
		return false;
	}
	report_fault_at(address, context);
	return open_page(address);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	size_t offset = (size_t)((char *)info->si_addr - guard_pool.start);
	if (info->si_code <= 0 || offset >= guard_pool.nbytes || !handle(info->si_addr, context))
		pass_on(number, info, context);
	errno = saved_errno;
}

void guard_catch_faults(void)
{
	int saved_errno = errno;
	if (sigaction(SIGSEGV, NULL, &before) == 0) {
		struct sigaction action = {.sa_sigaction = on_fault, .sa_mask = before.sa_mask};
		action.sa_flags = SA_SIGINFO | SA_ONSTACK | (before.sa_flags & (int)(SA_NODEFER | SA_RESTART));
		sigaction(SIGSEGV, &action, NULL);
	}
	errno = saved_errno;
}
