#!/bin/sh
# All of tests/run.
sh "$(dirname "$0")/../run" 2>&1 | sed -u 's/^PASS: /ok: /
    s/^\(FAIL\|ERROR\|XPASS\): /FAILED: /
    $ { h; s/.* passed, 0 failed$//; t; g; s/^/FAILED: tests\/run: / }'
