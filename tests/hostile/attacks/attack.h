// One attempt each: a function that tries one way out and says whether it got through.
//
// Targets come in the environment, as the job of a real run would find them by looking around.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace writ::hostile {

enum class Result {
  kGotThrough = 0,
  kRefused = 1,
  kCannotTry = 2,  // this kernel or host lacks what the attempt needs
};

struct Attack {
  std::string_view name;
  Result (*run)();
};

const std::vector<Attack>& NetworkAttacks();
const std::vector<Attack>& SocketAttacks();
const std::vector<Attack>& ProcessAttacks();
const std::vector<Attack>& KernelAttacks();
const std::vector<Attack>& FileAttacks();

std::string Target(const char* variable);  // "" where it is not set
int TargetNumber(const char* variable);    // 0 where it is not set
sockaddr_in Ipv4(const char* address, int port);
Result From(bool got_through);

}  // namespace writ::hostile
