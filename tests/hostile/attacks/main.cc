// hostile [--as UID GID] ATTACK: tries one attack; exit 0 it got through, 1 refused, 2 cannot be
// tried here. With --as (root only) the identity is dropped first: an attack never runs as root.
#include <arpa/inet.h>
#include <grp.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "attack.h"

namespace writ::hostile {

std::string Target(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}
int TargetNumber(const char* variable) {
  return std::atoi(Target(variable).c_str());
}
sockaddr_in Ipv4(const char* address, int port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &out.sin_addr);
  out.sin_port = htons(static_cast<std::uint16_t>(port));
  return out;
}
Result From(bool got_through) {
  return got_through ? Result::kGotThrough : Result::kRefused;
}

}  // namespace writ::hostile

int main(int argc, char** argv) {
  using namespace writ::hostile;
  if (argc == 5 && std::strcmp(argv[1], "--as") == 0) {
    auto uid = static_cast<uid_t>(std::strtoul(argv[2], nullptr, 10));
    auto gid = static_cast<gid_t>(std::strtoul(argv[3], nullptr, 10));
    if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0 ||
        ::setresuid(uid, uid, uid) != 0)
      return 3;
    argv += 3;
    argc -= 3;
  }
  if (argc != 2) return 3;
  const bool as_root = ::getuid() == 0;  // the set-uid copy has another real uid
  if (as_root) return 3;
  for (const auto* list :
       {&NetworkAttacks(), &SocketAttacks(), &ProcessAttacks(), &KernelAttacks(), &FileAttacks()}) {
    for (const Attack& attack : *list) {
      if (attack.name == argv[1]) return static_cast<int>(attack.run());
    }
  }
  return 3;
}
