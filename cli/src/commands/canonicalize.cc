#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "writ/base/file.h"
#include "writ/protocol/canonical.h"
#include "writ/protocol/digest.h"

namespace writ::cli {

void AddCanonicalize(CLI::App& app, Context& context) {
  struct Options {
    std::string file;
    bool hash = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "canonicalize", "Print a JSON file's canonical bytes (RFC 8785), or their hash");
  command->add_option("FILE", options->file, "JSON file, or - for standard input")->required();
  command->add_flag("--hash", options->hash, "Print the SHA-256 of the canonical bytes instead");
  command->footer(
      "Examples:\n  writ canonicalize contract.json --hash\n  echo '{\"b\":1,\"a\":2}' | writ "
      "canonicalize -");
  command->callback([&context, options] {
    constexpr std::uint64_t kLimit = std::uint64_t{256} << 20;
    auto bytes = options->file == "-" ? ReadAll(0, kLimit) : ReadFile(options->file, kLimit);
    if (!bytes) return context.Fail(kUsage, bytes.error());
    auto value = json::Parse(*bytes, {.max_depth = 512, .max_bytes = kLimit});
    if (!value) return context.Fail(kUsage, value.error());
    std::string canonical = json::CanonicalBytes(*value);
    std::string hash = protocol::Sha256(canonical).ToHex();
    if (context.json) {
      context.PrintJson(json::Object{{"hash", hash}, {"canonical", canonical}});
    } else if (options->hash) {
      context.Print(hash + "\n");
    } else {
      context.Print(canonical);  // exactly the canonical bytes: no final newline
    }
  });
}

}  // namespace writ::cli
