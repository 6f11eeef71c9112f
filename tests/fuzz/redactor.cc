// The redactor against its plain meaning. Input: value '\0' value '\0' ... 0xff text, cut into
// chunks by its own bytes.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../unit/runner/slow_redactor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ::runner;
  if (size > 4096) return 0;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  std::size_t split = input.find('\xff');
  if (split == std::string_view::npos) return 0;
  std::string_view values = input.substr(0, split);
  std::string_view text = input.substr(split + 1);
  std::vector<NamedSecret> secrets;
  while (!values.empty() && secrets.size() < 4) {
    std::string_view value = values.substr(0, values.find('\0'));
    values.remove_prefix(std::min(values.size(), value.size() + 1));
    if (value.size() <= 64)
      secrets.push_back(
          {std::string(1, static_cast<char>('A' + secrets.size())), writ::Secret(value)});
  }
  writ::Result<Redactor> redactor = Redactor::Build(secrets);
  if (!redactor) return 0;
  const std::string want = writ::test::SlowRedact(secrets, text);
  std::string got;
  RedactionStream stream(*redactor, [&](std::string_view piece) { got += piece; });
  for (std::size_t at = 0; at < text.size();) {
    std::size_t chunk = 1 + static_cast<unsigned char>(text[at]) % 13;
    stream.Write(text.substr(at, chunk));
    at += chunk;
  }
  stream.Finish();
  if (got != want || redactor->Redact(text) != want ||
      redactor->FindIn(text).has_value() != (want != text))
    std::abort();
  return 0;
}
