// What is known of a program before it is started.
#pragma once

#include <string>
#include <vector>

namespace bmcpair::cli {

struct Program {
  std::string path;
  int exit_status = 0;   // not 0: it cannot be started; 127 not found, 126 not executable, as shells have it
  std::string why;       // then, in one line
  // Why it would not load preloaded libraries, and what to do; empty where it would. What it starts itself may load them.
  std::string deaf;
};

// Looked up as a shell does it. path_variable: PATH's value. libraries_32: there are libraries for 32 bit programs, too.
Program find_program(const std::string& name, const char* path_variable, bool libraries_32);

}  // namespace bmcpair::cli
