dnl SPDX-License-Identifier: MIT
dnl QUARRY_ARG_SIZE(OPTION, MACRO, LEAST, MOST, HELP, [power of two])
dnl --with-OPTION=N: a checked number that becomes -DMACRO=N; the macro stays undefined when the option is not given.
dnl Sets the shell variable quarry_OPTION (dashes become underscores) for the summary.
AC_DEFUN([QUARRY_ARG_SIZE], [
AC_ARG_WITH([$1], [AS_HELP_STRING([--with-$1=N], [$5 ($3 to $4)])], [
	AS_CASE([$withval],
		[''|*[[!0-9]]*|0*|????????*], [AC_MSG_ERROR([--with-$1=$withval: a number from $3 to $4 is needed])])
	AS_IF([test "$withval" -lt $3 || test "$withval" -gt $4],
		[AC_MSG_ERROR([--with-$1=$withval: out of range, $3 to $4])])
	m4_ifval([$6], [AS_IF([test $(($withval & ($withval - 1))) -ne 0],
		[AC_MSG_ERROR([--with-$1=$withval: not a power of two])])])
	AS_VAR_SET([quarry_[]m4_translit([$1], [-], [_])], [$withval])
	AX_APPEND_FLAG([-D$2=$withval], [QUARRY_CPPFLAGS])
], [AS_VAR_SET([quarry_[]m4_translit([$1], [-], [_])], [default])])
])

dnl QUARRY_CHECK_SIZES
dnl The three sizes together: the static asserts of lib/tunables.h, asked early and answered in words.
AC_DEFUN([QUARRY_CHECK_SIZES], [
AC_MSG_CHECKING([whether the sizes fit together])
quarry_save_CPPFLAGS=$CPPFLAGS
CPPFLAGS="$CPPFLAGS $QUARRY_CPPFLAGS"
AC_COMPILE_IFELSE([AC_LANG_SOURCE([[#include "$srcdir/lib/tunables.h"]])], [AC_MSG_RESULT([yes])], [
	AC_MSG_RESULT([no])
	AC_MSG_ERROR([these arena, pool and threshold sizes do not fit together; lib/tunables.h says what must hold])])
CPPFLAGS=$quarry_save_CPPFLAGS
])
