// The host normaliser and the address reader. Held: normal forms are fixed points and hold nothing
// ambiguous.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "writ/egress/decision.h"
#include "writ/egress/host_name.h"
#include "writ/egress/rules.h"

namespace {
void Check(bool held) {
  if (!held) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ::egress;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto host = HostName::Normalise(text);
  if (host) {
    for (char c : host->text())
      Check((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
            (c == ':' && host->is_literal()));
    auto again = HostName::Normalise(host->ForAuthority());
    Check(again.has_value() && *again == *host && again->is_literal() == host->is_literal());
    if (!host->is_literal()) Check(!IpAddress::Parse(host->text()));
    if (host->is_literal()) (void)Classify(*host->literal());
    RuleSet none;
    Check(!DecideHost(none, Target{Protocol::kConnect, *host, 443}).allowed);
  }
  auto pattern = HostPattern::Parse(text);
  if (pattern) {
    auto again = HostPattern::Parse(pattern->ToString());
    Check(again.has_value() && *again == *pattern);
  }
  auto range = Cidr::Parse(text);
  if (range) Check(Cidr::Parse(range->ToString()) == range);
  std::string printable = PrintableHost(text);
  for (char c : printable) Check(c > 0x20 && c < 0x7f);
  return 0;
}
