// secrets set|list|rm: values come from standard input or a file, never from the command line.
#include <termios.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "writ/base/clock.h"
#include "writ/base/file.h"
#include "writ/plane/plane.h"
#include "writ/protocol/secret_rules.h"

namespace writ::cli {
namespace {

constexpr std::uint64_t kMostBytes = protocol::kMaxSecretBytes + 1;  // with the last newline

// Turns the terminal's echo off while a value is typed.
class NoEcho {
 public:
  NoEcho() {
    if (::isatty(0) == 0 || ::tcgetattr(0, &old_) != 0) return;
    termios quiet = old_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    active_ = ::tcsetattr(0, TCSAFLUSH, &quiet) == 0;
  }
  ~NoEcho() {
    if (active_) (void)::tcsetattr(0, TCSAFLUSH, &old_);
  }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;

 private:
  termios old_{};
  bool active_ = false;
};

enum class LastNewline { kIsNoPart, kIsPart };

Result<Secret> ReadValue(const std::string& name, const std::string& file, LastNewline newline) {
  Result<std::string> bytes = std::string();
  if (file.empty()) {
    NoEcho quiet;
    if (::isatty(0) != 0)
      std::fprintf(stderr, "value (not shown, end with Ctrl-D on an empty line): ");
    bytes = ReadAll(0, kMostBytes);
  } else {
    bytes = ReadFile(file, kMostBytes);
  }
  if (!bytes && bytes.error().code == "file.too_large") {
    WRIT_TRY(protocol::CheckSecretLength(name, std::string(kMostBytes, ' ')));
  }
  if (!bytes) return std::move(bytes).error();
  if (newline == LastNewline::kIsNoPart && !bytes->empty() && bytes->back() == '\n')
    bytes->pop_back();  // the newline of echo and of editors
  if (bytes->empty())
    return Error{ErrorKind::kInvalid, "secret.empty", "the secret's value is empty",
                 "give it on standard input or with --file"};
  return Secret::Consume(*bytes);
}

struct SecretCommand {
  std::string name;
  std::string scope = "pool:default";
  std::string file;
  bool exact = false;
  std::string from_env;
  std::string from_file;
  std::string from_command;
  std::vector<std::string> args;
};

std::string SourceWord(const plane::SecretSource& source) {
  switch (source.kind) {
    case plane::SecretSource::Kind::kSealed:
      return "sealed";
    case plane::SecretSource::Kind::kFile:
      return "file";
    case plane::SecretSource::Kind::kEnvironment:
      return "environment";
    case plane::SecretSource::Kind::kExecutable:
      return "executable";
  }
  return "sealed";
}

}  // namespace

void AddSecrets(CLI::App& app, Context& context) {
  CLI::App* secrets =
      app.add_subcommand("secrets", "Keep the secrets that the plane may release to runs");
  secrets->require_subcommand(1);
  secrets->footer(
      "Values are sealed at rest and never taken from the command line.\n\n"
      "Examples:\n  writ secrets set API_TOKEN < token.txt\n  writ secrets set API_TOKEN "
      "--from-env CI_TOKEN\n"
      "  writ secrets list\n  writ secrets rm API_TOKEN");

  auto set_options = std::make_shared<SecretCommand>();
  CLI::App* set =
      secrets->add_subcommand("set", "Set a secret; its value comes from standard input or --file");
  set->add_option("NAME", set_options->name, "Name ([A-Za-z_][A-Za-z0-9_]*)")->required();
  set->add_option("--scope", set_options->scope, "Scope that the policy names")
      ->capture_default_str();
  set->add_option("--file", set_options->file, "Read the value from this file now");
  CLI::Option* exact =
      set->add_flag("--exact", set_options->exact, "A newline at the end is a part of the value");
  set->add_option("--from-env", set_options->from_env,
                  "Take the value from this variable of the plane at each release")
      ->excludes(exact);
  set->add_option("--from-file", set_options->from_file,
                  "Take the value from this file at each release")
      ->excludes(exact);
  set->add_option(
         "--from-command", set_options->from_command,
         "Take the value from this program's output at each release (absolute path, no shell)")
      ->excludes(exact);
  set->add_option("--arg", set_options->args, "Argument for --from-command; may be repeated")
      ->allow_extra_args(false);
  set->footer(
      "A value is text of at least 4 bytes, without NUL. One newline at its end, as echo and "
      "editors\n"
      "write it, is not taken as a part of it, whether it is read now or at a release (that of a\n"
      "variable is).\n"
      "The job finds it in the variable NAME, so the names of variables that belong to the "
      "launcher\n"
      "or the proxy (PATH, HOME, LD_*, WRIT_*, HTTP_PROXY, ...) are refused.\n\n"
      "Examples:\n  printf %s \"$TOKEN\" | writ secrets set API_TOKEN\n  writ secrets set "
      "API_TOKEN --from-command /usr/local/bin/fetch --arg api");
  set->callback([&context, set_options] {
    SystemClock clock;
    int sources = !set_options->file.empty() + !set_options->from_env.empty() +
                  !set_options->from_file.empty() + !set_options->from_command.empty();
    if (sources > 1)
      return context.Fail(Error{ErrorKind::kInvalid, "secret.two_sources",
                                "a secret has one source",
                                "give only one of --file and --from-..."});
    if (!set_options->args.empty() && set_options->from_command.empty())
      return context.Fail(Error{ErrorKind::kInvalid, "secret.args_without_command",
                                "--arg is for --from-command",
                                "name the program, or leave it out"});
    auto opened = OpenPlane(context.dir, clock);
    if (!opened) return context.Fail(opened.error());
    plane::Caller caller = plane::Caller::Local(LocalUser());
    Status done;
    plane::SecretSource source;
    source.args = set_options->args;
    if (!set_options->from_env.empty()) {
      source.kind = plane::SecretSource::Kind::kEnvironment;
      source.location = set_options->from_env;
    } else if (!set_options->from_file.empty()) {
      source.kind = plane::SecretSource::Kind::kFile;
      source.location = AbsolutePath(set_options->from_file);
    } else if (!set_options->from_command.empty()) {
      source.kind = plane::SecretSource::Kind::kExecutable;
      source.location = set_options->from_command;
    }
    if (source.kind == plane::SecretSource::Kind::kSealed) {
      auto value = ReadValue(set_options->name, set_options->file,
                             set_options->exact ? LastNewline::kIsPart : LastNewline::kIsNoPart);
      if (!value) return context.Fail(kUsage, value.error());
      done = (*opened)->SetSecret(caller, set_options->name, set_options->scope, *value);
    } else {
      done = (*opened)->SetSecretSource(caller, set_options->name, set_options->scope, source);
    }
    if (!done) return context.Fail(done.error());
    if (context.json) {
      context.PrintJson(json::Object{{"name", set_options->name},
                                     {"scope", set_options->scope},
                                     {"source", SourceWord(source)}});
    } else {
      context.Print("secret " + set_options->name + " (" + set_options->scope + ") is set\n");
    }
  });

  CLI::App* list = secrets->add_subcommand("list", "List names, scopes and sources; never values");
  list->footer("Examples:\n  writ secrets list\n  writ secrets list --json");
  list->callback([&context] {
    SystemClock clock;
    auto opened = OpenPlane(context.dir, clock);
    if (!opened) return context.Fail(opened.error());
    auto all = (*opened)->Secrets();
    if (!all) return context.Fail(all.error());
    json::Array items;
    for (const plane::SecretInfo& info : *all) {
      items.push_back(json::Object{{"name", info.name},
                                   {"scope", info.scope},
                                   {"source", SourceWord(info.source)},
                                   {"updatedAt", FormatRfc3339(info.updated_at)}});
      context.Print(info.name + "  " + info.scope + "  " + SourceWord(info.source) + "  " +
                    FormatRfc3339(info.updated_at) + "\n");
    }
    if (context.json) context.PrintJson(json::Object{{"secrets", std::move(items)}});
    if (all->empty()) context.Note("no secrets are set");
  });

  auto rm_options = std::make_shared<SecretCommand>();
  CLI::App* rm = secrets->add_subcommand("rm", "Remove a secret");
  rm->add_option("NAME", rm_options->name, "Name")->required();
  rm->add_option("--scope", rm_options->scope, "Scope")->capture_default_str();
  rm->footer(
      "Examples:\n  writ secrets rm API_TOKEN\n  writ secrets rm API_TOKEN --scope pool:gpu");
  rm->callback([&context, rm_options] {
    SystemClock clock;
    auto opened = OpenPlane(context.dir, clock);
    if (!opened) return context.Fail(opened.error());
    auto removed = (*opened)->RemoveSecret(plane::Caller::Local(LocalUser()), rm_options->name,
                                           rm_options->scope);
    if (!removed) return context.Fail(removed.error());
    if (context.json) {
      context.PrintJson(json::Object{{"removed", rm_options->name}, {"scope", rm_options->scope}});
    } else {
      context.Print("secret " + rm_options->name + " (" + rm_options->scope + ") is removed\n");
    }
  });
}

}  // namespace writ::cli
