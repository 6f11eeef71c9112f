// writ-verify: verifies a bundle offline. A static program with base/ and protocol/ in it and
// nothing else.
//
// Exit: 0 verified, 1 not verified or the result could not be written, 2 usage or unreadable input.
// It opens the named files for reading, writes to standard output and standard error, and uses no
// network, no configuration and no environment variable.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/error_text.h"
#include "writ/base/file.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/key_manifest.h"

namespace {

using writ::Error;
using writ::ErrorKind;
using writ::Result;

constexpr int kVerified = 0, kFailed = 1, kUsage = 2;
constexpr std::uint64_t kMostBytes = 0xFFFFFFFFull - 64;  // the reader's offsets are 32 bits wide
constexpr std::uint64_t kLargestKey = 1 << 16, kLargestManifest = 1 << 20;

constexpr std::string_view kHelp =
    R"(Usage: writ-verify BUNDLE [options]

Verifies a signed run bundle offline: the contract, the receipt, both signatures, and
the whole chain of events. BUNDLE is a file, or - for standard input.

  --plane-key FILE    the plane's public key, known from elsewhere (PEM)
  --runner-key FILE   the runner's public key
  --org-key FILE      the organisation's public key; the contract must be signed by it
  --key-manifest FILE the plane's keys as the organisation signed them (writ plane keys);
                      needs --org-key, whose signature is then asked of the manifest and
                      not of the contract, and stands instead of --plane-key
  --require-pinned    not verified unless plane and runner key are given
  --max-bytes N       read a bundle of up to N bytes (default 268435456); the number of
                      JSON values that are looked at grows with it
  --json              print the result as JSON
  --version           print the version
  --help              print this

Without keys the bundle's own are used: that proves that it is whole, not who made it.

Exit status: 0 verified, 1 not verified or the result could not be written, 2 usage
or unreadable input.

Examples:
  writ-verify run.bundle.json
  writ-verify run.bundle.json --plane-key plane.pem --runner-key runner.pem --require-pinned
)";

struct Arguments {
  std::string bundle;
  std::optional<std::string> plane_key, runner_key, org_key, key_manifest;
  std::uint64_t max_bytes = writ::protocol::kDefaultMaxBundleBytes;
  bool require_pinned = false, json = false, help = false, version = false;
};

Error Usage(std::string message) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "usage",
               .message = std::move(message),
               .hint = "writ-verify --help shows the options"};
}

Result<std::uint64_t> ParseBytes(std::string_view text) {
  std::uint64_t bytes = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (status != std::errc() || end != text.data() + text.size() || bytes == 0 || bytes > kMostBytes)
    return Usage("--max-bytes needs a number of bytes from 1 to " + std::to_string(kMostBytes));
  return bytes;
}

Result<Arguments> ParseArguments(const std::vector<std::string_view>& words) {
  Arguments out;
  bool have_bundle = false, only_names = false;
  std::optional<std::string> max_bytes;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (!only_names && word == "--") {
      only_names = true;
      continue;
    }
    if (only_names || word == "-" || !word.starts_with('-')) {
      if (have_bundle) return Usage("only one bundle is verified at a time");
      have_bundle = true;
      out.bundle = word;
      continue;
    }
    std::optional<std::string> attached;  // --option=value
    if (const std::size_t equals = word.find('='); equals != std::string_view::npos) {
      attached = word.substr(equals + 1);
      word = word.substr(0, equals);
    }
    std::optional<std::string>* file = word == "--plane-key"      ? &out.plane_key
                                       : word == "--runner-key"   ? &out.runner_key
                                       : word == "--org-key"      ? &out.org_key
                                       : word == "--key-manifest" ? &out.key_manifest
                                       : word == "--max-bytes"    ? &max_bytes
                                                                  : nullptr;
    bool* flag = word == "--require-pinned"         ? &out.require_pinned
                 : word == "--json"                 ? &out.json
                 : word == "--help" || word == "-h" ? &out.help
                 : word == "--version"              ? &out.version
                                                    : nullptr;
    if (file != nullptr) {
      if (file->has_value()) return Usage(std::string(word) + " is given twice");
      if (!attached) {
        if (++i == words.size())
          return Usage(std::string(word) +
                       (file == &max_bytes ? " needs a number" : " needs a file"));
        attached = words[i];
      }
      *file = *attached;
    } else if (flag != nullptr && !attached) {
      *flag = true;
    } else {
      return Usage("no such option: " + std::string(word));
    }
  }
  if (max_bytes) {
    WRIT_ASSIGN(out.max_bytes, ParseBytes(*max_bytes));
  }
  if (out.key_manifest && !out.org_key) return Usage("--key-manifest needs --org-key");
  if (out.key_manifest && out.plane_key)
    return Usage("--key-manifest stands instead of --plane-key");
  if (!have_bundle && !out.help && !out.version) return Usage("no bundle is named");
  return out;
}

// Of words that are no valid command line as well.
bool AsksForJson(const std::vector<std::string_view>& words) {
  const auto options_end = std::find(words.begin(), words.end(), "--");
  return std::find(words.begin(), options_end, "--json") != options_end;
}

Result<std::optional<writ::protocol::PublicKey>> ReadKey(const std::optional<std::string>& path) {
  if (!path) return std::optional<writ::protocol::PublicKey>();
  WRIT_ASSIGN(const std::string pem, writ::ReadFile(*path, kLargestKey));
  Result<writ::protocol::PublicKey> key = writ::protocol::PublicKey::FromPem(pem);
  if (!key) return std::move(key).error().With("reading " + *path);
  return std::optional(*key);
}

// One that the organisation's key signed.
Result<writ::protocol::KeyManifest> ReadManifest(const std::string& path,
                                                 const writ::protocol::PublicKey& org_key) {
  WRIT_ASSIGN(const std::string text, writ::ReadFile(path, kLargestManifest));
  auto value = writ::json::Parse(text, {.max_depth = 8, .max_bytes = kLargestManifest});
  if (!value) return std::move(value).error().With("reading " + path);
  auto manifest = writ::protocol::KeyManifest::Parse(*value);
  if (!manifest) return std::move(manifest).error().With("reading " + path);
  if (auto good = writ::protocol::CheckKeyManifest(*manifest, org_key); !good)
    return std::move(good).error().With("reading " + path);
  return manifest;
}

constexpr std::string_view kOutputFailed = "verify.output";

bool Print(std::FILE* to, std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), to) == text.size() && std::fflush(to) == 0;
}

// What was asked for, on standard output.
writ::Status Answer(std::string_view text) {
  if (Print(stdout, text)) return {};
  Error error =
      writ::SysError(errno, std::string(kOutputFailed), "the result could not be written");
  error.hint = "look whether its disk is full";
  return error;
}

// `writ --json` reports an error in the same shape.
int Fail(const Error& error, bool json) {
  Error told = error;
  if (told.hint.empty() && told.code.starts_with("file.")) told.hint = writ::HintForFile(told);
  if (told.hint.empty()) told.hint = writ::HintForJson(told);
  if (told.hint.empty() && told.code.starts_with("key."))
    told.hint = "an Ed25519 public key in PEM is needed: BEGIN PUBLIC KEY";
  if (json) {
    Error plain = told;
    plain.hint.clear();
    writ::json::Object out{{"error", writ::json::ToWellFormedUtf8(plain.ToString())},
                           {"code", error.code},
                           {"kind", std::string(writ::ErrorKindName(error.kind))}};
    if (!told.hint.empty()) out.Set("hint", told.hint);
    Print(stdout, writ::json::WritePretty(writ::json::Value(std::move(out))) + "\n");
  }
  Print(stderr, "writ-verify: " + writ::ErrorText(told));
  return error.code == kOutputFailed || error.kind == ErrorKind::kIntegrity ? kFailed : kUsage;
}

Result<bool> Run(const Arguments& arguments) {
  writ::protocol::VerifyOptions options;
  WRIT_ASSIGN(options.plane_key, ReadKey(arguments.plane_key));
  WRIT_ASSIGN(options.runner_key, ReadKey(arguments.runner_key));
  WRIT_ASSIGN(options.org_key, ReadKey(arguments.org_key));
  std::optional<writ::protocol::KeyManifest> manifest;
  if (arguments.key_manifest) {
    WRIT_ASSIGN(manifest, ReadManifest(*arguments.key_manifest, *options.org_key));
    options.key_manifest = &*manifest;
    options.org_key.reset();
  }
  options.require_pinned = arguments.require_pinned;
  options.max_bytes = arguments.max_bytes;
  Result<std::string> text = arguments.bundle == "-"
                                 ? writ::ReadAll(0, arguments.max_bytes)
                                 : writ::ReadFile(arguments.bundle, arguments.max_bytes);
  if (!text) {
    Error error = std::move(text).error();
    if (error.code == "file.too_large") error.hint = "--max-bytes N raises the limit";
    return error;
  }
  const writ::protocol::VerifyReport report = writ::protocol::VerifyBundle(*text, options);
  const std::string out =
      arguments.json ? writ::json::WritePretty(writ::protocol::RenderJson(report)) + "\n"
                     : writ::protocol::RenderText(
                           report, arguments.bundle == "-" ? "standard input" : arguments.bundle);
  WRIT_TRY(Answer(out));
  return report.ok;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  const Result<Arguments> arguments = ParseArguments(words);
  if (!arguments) return Fail(arguments.error(), AsksForJson(words));
  if (arguments->help || arguments->version) {
    const writ::Status told = Answer(arguments->help   ? kHelp
                                     : arguments->json ? "{\"version\": \"" WRIT_VERSION "\"}\n"
                                                       : "writ-verify " WRIT_VERSION "\n");
    return told ? kVerified : Fail(told.error(), arguments->json);
  }
  const Result<bool> verified = Run(*arguments);
  if (!verified) return Fail(verified.error(), arguments->json);
  return *verified ? kVerified : kFailed;
}
