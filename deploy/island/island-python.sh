#!/bin/sh
# The packed interpreter by its own loader and libraries, whatever those of the host are; programs that it starts again
# find it under this name.
here=${0%/*}
lib=$here/../lib
exec "$lib/glibc/ld.so" --library-path "$lib:$lib/glibc" --argv0 "$0" "$here/@PYTHON@" "$@"
