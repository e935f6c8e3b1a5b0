dnl SPDX-License-Identifier: MIT
dnl QUARRY_CHECK_LIBRARY(VARIABLE, MODULE, LEAST VERSION, DEBIAN PACKAGE)
dnl Sets VARIABLE_CFLAGS, VARIABLE_LIBS and quarry_VARIABLE_version, or stops and names the Debian package.
AC_DEFUN([QUARRY_CHECK_LIBRARY], [
PKG_CHECK_MODULES([$1], [$2 >= $3], [quarry_$1_version=`$PKG_CONFIG --modversion $2 2>/dev/null || echo given`], [
	quarry_found=`$PKG_CONFIG --modversion $2 2>/dev/null`
	AS_IF([test -n "$quarry_found"],
		[AC_MSG_ERROR([$2 $quarry_found is too old, $3 or newer is needed; Debian package: $4])],
		[AC_MSG_ERROR([$2 $3 or newer is missing; Debian package: $4])])])
])
