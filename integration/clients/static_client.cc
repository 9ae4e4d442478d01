// A program that no library can be preloaded into.
#include <unistd.h>

int main() { return write(1, "static\n", 7) == 7 ? 0 : 1; }
