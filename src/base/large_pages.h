// Memory in pages of 2 MiB, for programs that look at all of a large fleet: with pages of 4 KiB they wait for page tables more than for
// anything else (a plan over 100,000 workers: 1.2 s, or 0.5 s).
#pragma once

namespace ebb {

// To be called first in main(). glibc's malloc decides about its pages when a program starts (tunable glibc.malloc.hugetlb, since
// 2.35), so this starts the program anew, under the same process id, with the tunable in its environment. Does nothing if the
// environment has tunables, which are then the operator's own or these; nor where that is not possible.
void use_large_pages(char** argv);

}  // namespace ebb
