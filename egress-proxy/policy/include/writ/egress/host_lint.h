// HostLint: what is allowed by a list of hosts that its writer hardly meant. Pure.
//
// Nothing here decides anything: a list with findings is enforced as it stands. A library of its
// own (writ::egress_lint), because the list of public suffixes is compiled into libpsl and the
// proxy has no use for it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace writ::egress {

struct HostFinding {
  std::size_t index = 0;  // in the list
  // "lint.public_suffix": a wildcard below a suffix under which anybody can have a name
  // (https://publicsuffix.org/list, as libpsl was built with it); "lint.shadowed": another entry
  // covers all of this one, which therefore decides nothing.
  std::string code;
  std::string message;
  std::string hint;
};

// Entries like "api.example.com", "*.example.com", each with ":443" or without. What is no pattern
// is left out: its parser has a word for it. In the order of the list.
std::vector<HostFinding> LintHosts(const std::vector<std::string>& hosts);

}  // namespace writ::egress
