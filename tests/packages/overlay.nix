# An overlay for the tests: patches the package that others are built on.
self: super: {
  low = super.mk "low" { deps = [ "patched" ]; };
}
