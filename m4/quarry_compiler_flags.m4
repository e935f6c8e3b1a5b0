dnl SPDX-License-Identifier: MIT
dnl QUARRY_COMPILER_FLAGS
dnl Sets QUARRY_CPPFLAGS, QUARRY_CFLAGS, QUARRY_CXXFLAGS (library and tests), QUARRY_LDFLAGS (all links) and
dnl QUARRY_SHARED_LDFLAGS (the shared libraries). A flag that the tools do not know is left out, except the few that
dnl the design rests on.
AC_DEFUN([QUARRY_COMPILER_FLAGS], [
dnl _LGPL_SOURCE: the list and pointer functions of liburcu inline, so that nothing links it.
QUARRY_CPPFLAGS="-D_LGPL_SOURCE"
dnl Empty, as a source that defines it by itself does; a C++ compiler on Linux always defines it.
QUARRY_CFLAGS="-D_GNU_SOURCE="
QUARRY_CXXFLAGS=
QUARRY_LDFLAGS=
QUARRY_SHARED_LDFLAGS=

quarry_flags_common="-Wall -Wextra"
dnl The compiler knows malloc and free by name: it drops free(malloc(n)) and turns a malloc that zeroes into calloc.
for quarry_name in malloc free calloc realloc reallocarray aligned_alloc memalign posix_memalign valloc pvalloc; do
	quarry_flags_common="$quarry_flags_common -fno-builtin-$quarry_name"
done
AX_APPEND_COMPILE_FLAGS([-std=gnu11 $quarry_flags_common], [QUARRY_CFLAGS],
	[-Werror])
AS_IF([test "$quarry_cv_prog_cxx" = yes], [
	AC_LANG_PUSH([C++])
	AX_APPEND_COMPILE_FLAGS([-std=gnu++17 $quarry_flags_common -fno-allocation-dce], [QUARRY_CXXFLAGS], [-Werror])
	AC_LANG_POP([C++])])

dnl Thread-local state by a fixed offset: any other model calls __tls_get_addr, which may call malloc.
QUARRY_NEED_COMPILE_FLAG([-ftls-model=initial-exec])
dnl Only what the header marks leaves a library.
QUARRY_NEED_COMPILE_FLAG([-fvisibility=hidden])
dnl bad_alloc passes through operator new.
QUARRY_NEED_COMPILE_FLAG([-fasynchronous-unwind-tables])

dnl Unused libraries cost every start of a process, and so does each segment: two fewer save 12 of 110 microseconds.
dnl free() may run until the very end, so never unload. A sanitizer's runtime is missing until the program is linked.
AX_APPEND_LINK_FLAGS([-Wl,--as-needed], [QUARRY_LDFLAGS])
AX_APPEND_LINK_FLAGS([-Wl,-z,nodelete -Wl,-z,now -Wl,-z,relro -Wl,-z,noseparate-code], [QUARRY_SHARED_LDFLAGS])
AS_IF([test -z "$quarry_sanitizer"], [AX_APPEND_LINK_FLAGS([-Wl,-z,defs], [QUARRY_SHARED_LDFLAGS])])
AC_SUBST([QUARRY_CPPFLAGS])
AC_SUBST([QUARRY_CFLAGS])
AC_SUBST([QUARRY_CXXFLAGS])
AC_SUBST([QUARRY_LDFLAGS])
AC_SUBST([QUARRY_SHARED_LDFLAGS])
])

dnl QUARRY_NEED_COMPILE_FLAG(FLAG): a flag without which the library would be wrong.
AC_DEFUN([QUARRY_NEED_COMPILE_FLAG], [
AX_CHECK_COMPILE_FLAG([$1], [QUARRY_CFLAGS="$QUARRY_CFLAGS $1"],
	[AC_MSG_ERROR([$CC does not know $1])], [-Werror])
])
