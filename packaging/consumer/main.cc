// A project outside the tree: links the installed protocol library and hashes a value.
#include <writ/protocol/canonical.h>
#include <writ/protocol/digest.h>

#include <cstdio>

int main() {
  auto value = writ::json::Parse(R"({"b":1,"a":[true,null]})");
  if (!value || writ::json::CanonicalBytes(*value) != R"({"a":[true,null],"b":1})") return 1;
  std::printf("%s\n", writ::protocol::HashValue(*value).ToHex().c_str());
  return 0;
}
