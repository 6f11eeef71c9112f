// Any bytes: parsing ends; what parses has canonical bytes that parse to the same value and are
// their own canonical form; the tape and the tree give the same canonical bytes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "scanner.h"
#include "writ/protocol/canonical.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ::json;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const writ::Result<Value> value = Parse(text);
  if (!value) {
    if (value.error().code.empty() || value.error().message.empty()) std::abort();
    return 0;
  }
  const std::string bytes = CanonicalBytes(*value);
  const writ::Result<Value> again = Parse(bytes);
  if (!again || CanonicalBytes(*again) != bytes) std::abort();
  if (!(Parse(Write(*value)).value() == *value) || !(Parse(WritePretty(*value)).value() == *value))
    std::abort();
  Tape tape;
  Scanner scanner(text, {});
  std::string from_tape;
  if (!scanner.Scan(tape)) std::abort();
  AppendCanonicalAt(text, tape, 0, from_tape);
  if (from_tape != bytes) std::abort();
  return 0;
}
