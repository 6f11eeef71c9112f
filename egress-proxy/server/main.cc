// writ-egress-proxy [--uid=N --gid=N]: the egress proxy of one session. Started by the runner with
// the control socket at descriptor 3; of no use to people.
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "writ/egress/server.h"

namespace {

std::optional<unsigned> Number(std::string_view argument, std::string_view prefix) {
  if (!argument.starts_with(prefix)) return std::nullopt;
  argument.remove_prefix(prefix.size());
  unsigned value = 0;
  auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), value);
  if (error != std::errc() || end != argument.data() + argument.size()) return std::nullopt;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<writ::egress::ProxyIdentity> identity;
  if (argc == 3) {
    auto uid = Number(argv[1], "--uid=");
    auto gid = Number(argv[2], "--gid=");
    if (uid && gid) identity = writ::egress::ProxyIdentity{*uid, *gid};
  }
  if (argc != 1 && !identity) {
    std::fputs("usage: writ-egress-proxy [--uid=N --gid=N]\n", stderr);
    return 2;
  }
  // Not through exit(): threads may still be inside libc.
  _exit(writ::egress::RunProxy(identity));
}
