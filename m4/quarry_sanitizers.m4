dnl SPDX-License-Identifier: MIT
dnl QUARRY_ARG_SANITIZER
dnl --enable-sanitizer=LIST: sets quarry_sanitizer to thread, address, undefined or address,undefined; empty without.
AC_DEFUN([QUARRY_ARG_SANITIZER], [
AC_ARG_ENABLE([sanitizer],
	[AS_HELP_STRING([--enable-sanitizer=NAME], [thread, address, undefined or address,undefined; unit and stress
		tests only, as a sanitizer brings its own malloc])],
	[], [enable_sanitizer=no])
AS_CASE([$enable_sanitizer],
	[no], [quarry_sanitizer=],
	[thread|address|undefined|address,undefined], [quarry_sanitizer=$enable_sanitizer],
	[AC_MSG_ERROR([--enable-sanitizer=$enable_sanitizer: thread, address, undefined or address,undefined is needed])])
AM_CONDITIONAL([SANITIZED], [test -n "$quarry_sanitizer"])
])

dnl QUARRY_APPLY_SANITIZER
dnl Adds the chosen sanitizer to QUARRY_CFLAGS and QUARRY_LDFLAGS. The tests set the options that make findings fatal.
AC_DEFUN([QUARRY_APPLY_SANITIZER], [
AS_IF([test -n "$quarry_sanitizer"], [
	quarry_sanitizer_flags="-fsanitize=$quarry_sanitizer -fno-omit-frame-pointer"
	AC_MSG_CHECKING([whether $CC links with -fsanitize=$quarry_sanitizer])
	quarry_save_CFLAGS=$CFLAGS
	CFLAGS="$CFLAGS $quarry_sanitizer_flags"
	AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])], [
		AC_MSG_RESULT([no])
		AC_MSG_ERROR([$CC has no sanitizer "$quarry_sanitizer" here])])
	CFLAGS=$quarry_save_CFLAGS
	QUARRY_CFLAGS="$QUARRY_CFLAGS $quarry_sanitizer_flags"
	QUARRY_LDFLAGS="$QUARRY_LDFLAGS -fsanitize=$quarry_sanitizer"])
])
