#!/bin/sh
# A kept FastCGI connection, by hand: requests of every length about the size of
# libfcgi's buffer, where the record that ends a request comes apart from it.
# shellcheck disable=SC1091,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
prog_start cache
until_true 20 test -S "$W/run/cache.sock" || stop "the socket"

# twice BYTES: two requests over one connection, the first of so many bytes; how
# many were answered.
twice() {
	perl -MIO::Socket::UNIX -e '
	    my ($path, $size) = @ARGV;
	    my $s = IO::Socket::UNIX->new($path) or die;
	    alarm 20;
	    sub record { pack("CCnnCC", 1, $_[0], 1, length $_[1], 0, 0) . $_[1] }
	    sub pair { pack("NN", 0x80000000 | length $_[0],
	        0x80000000 | length $_[1]) . join "", @_ }
	    sub request {
	        my ($pad) = @_;
	        my $p = pair("REQUEST_METHOD", "GET") .
	            pair("SCRIPT_NAME", "/cache") .
	            pair("REQUEST_URI", "/cache/nix-cache-info") .
	            pair("HTTP_X", "x" x $pad);
	        record(1, pack("nCx5", 1, 1)) . record(4, $p) . record(4, "") .
	            record(5, "");
	    }
	    sub answered {
	        my $in = "";
	        while (1) {
	            my $n = sysread $s, $in, 65536, length $in or return 0;
	            my $at = 0;
	            while (length($in) - $at >= 8) {
	                my (undef, $type, undef, $len, $skip) =
	                    unpack "CCnnCx", substr $in, $at, 8;
	                return 1 if $type == 3;
	                $at += 8 + $len + $skip;
	            }
	        }
	    }
	    my $n = 0;
	    for my $pad ($size - length request(0), 0) {
	        syswrite $s, request($pad) or last;
	        answered() or last;
	        $n++;
	    }
	    print $n' "$W/run/cache.sock" "$1"
}
for size in 4000 8184 8185 8190 8191 8192 8193 8194 8197 8199 8200 8201 8208 \
    9000 16384 16390; do
	is "two requests, the first of $size bytes" "$(twice $size)" 2
done

e2e_end
