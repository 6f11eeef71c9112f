// enroll-token, principals: who may talk to the plane.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <cerrno>
#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "duration.h"
#include "home.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::cli {
namespace {

// Where a token goes: to the new file that was asked for (0600), else to standard output. A token
// is shown once, so the file and its room are there before the token is made; they go again where
// none came of it.
class TokenPlace {
 public:
  static Result<TokenPlace> Reserve(const std::string& out) {
    constexpr off_t kRoom = 4096;
    TokenPlace place;
    if (out.empty()) return place;
    place.path_ = AbsolutePath(out);
    const std::size_t slash = place.path_.rfind('/');
    WRIT_ASSIGN(place.dir_, OpenDirectory(slash == 0 ? "/" : place.path_.substr(0, slash)));
    place.name_ = place.path_.substr(slash + 1);
    place.fd_.reset(::openat(place.dir_.get(), place.name_.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!place.fd_)
      return SysError(errno, "file.create_failed", "cannot make the token file " + place.path_);
    if (int err = ::posix_fallocate(place.fd_.get(), 0, kRoom); err != 0)
      return SysError(err, "file.write_failed", "no room for the token file " + place.path_);
    return place;
  }
  TokenPlace(TokenPlace&& other) noexcept = default;
  TokenPlace& operator=(TokenPlace&&) = delete;
  ~TokenPlace() {
    if (fd_) (void)::unlinkat(dir_.get(), name_.c_str(), 0);  // nothing was put into it
  }

  const std::string& path() const { return path_; }  // "" for standard output
  Status Put(const std::string& token) {
    WRIT_TRY(WriteAll(fd_.get(), token + "\n"));
    if (::ftruncate(fd_.get(), static_cast<off_t>(token.size() + 1)) != 0 ||
        ::fsync(fd_.get()) != 0 || ::fsync(dir_.get()) != 0)
      return SysError(errno, "file.sync_failed",
                      "cannot make the token file " + path_ + " durable");
    fd_.reset();
    return {};
  }

 private:
  TokenPlace() = default;
  std::string path_, name_;
  UniqueFd dir_, fd_;
};

void DeliverToken(Context& context, const std::string& token, TokenPlace& place, json::Object facts,
                  const std::string& sentence) {
  if (!place.path().empty()) {
    const Status put = place.Put(token);
    if (put) {
      facts.Set("tokenFile", place.path());
      if (context.json) context.PrintJson(std::move(facts));
      return context.Print(sentence + "\ntoken file: " + place.path() + "\n");
    }
    context.NoteError("the token is shown here instead", put.error());
  }
  facts.Set("token", token);
  if (context.json) context.PrintJson(std::move(facts));
  context.Note(sentence + " (shown once; only its hash is stored)");
  context.Print(token + "\n");
}

}  // namespace

void AddTokens(CLI::App& app, Context& context) {
  struct EnrollOptions {
    Access access;
    std::string pool;
    std::string lifetime = "1h";
    std::string out;
  };
  auto enroll = std::make_shared<EnrollOptions>();
  CLI::App* token =
      app.add_subcommand("enroll-token", "Make a one-time token with which one runner enrols");
  token->add_option("--pool", enroll->pool, "Only for this pool");
  token->add_option("--lifetime", enroll->lifetime, "How long it may be used")
      ->capture_default_str();
  token->add_option("--out,-o", enroll->out,
                    "Write it to this new file (0600) instead of standard output");
  enroll->access.AddOptions(*token);
  token->footer(
      "Examples:\n  writ enroll-token --pool gpu --out token\n  writ runner start --pool gpu "
      "--plane URL --plane-key F --enroll-token-file token");
  token->callback([&context, enroll] {
    auto lifetime = ParseDuration(enroll->lifetime);
    if (!lifetime)
      return context.Fail(Error{ErrorKind::kInvalid, "cli.bad_duration",
                                "--lifetime is not a duration", "write it like 1h or 30m"});
    auto requester = enroll->access.Open(context);
    if (!requester) return context.Fail(requester.error());
    auto place = TokenPlace::Reserve(enroll->out);
    if (!place) return context.Fail(place.error());
    auto issued =
        (*requester)
            ->CreateEnrollToken(std::chrono::duration_cast<std::chrono::seconds>(*lifetime),
                                enroll->pool.empty() ? std::nullopt : std::optional(enroll->pool));
    if (!issued) return context.Fail(issued.error());
    json::Object facts{{"expiresAt", FormatRfc3339(issued->expires_at)}};
    if (!enroll->pool.empty()) facts.Set("pool", enroll->pool);
    DeliverToken(context, issued->token, *place, std::move(facts),
                 "one-time enrolment token, valid until " + FormatRfc3339(issued->expires_at));
  });

  CLI::App* principals =
      app.add_subcommand("principals", "People and services that may use the plane's API");
  principals->require_subcommand(1);
  principals->footer(
      "Examples:\n  writ principals add ci --role requester --out ci.token\n  writ principals "
      "list\n  writ principals revoke ci");
  struct PrincipalOptions {
    std::string name;
    std::vector<std::string> roles;
    std::string out;
  };
  auto add_options = std::make_shared<PrincipalOptions>();
  CLI::App* add = principals->add_subcommand("add", "Make a principal and its token");
  add->add_option("NAME", add_options->name, "Name")->required();
  add->add_option("--role", add_options->roles,
                  "admin, requester, approver or enroller (its token enrols runners in any pool, "
                  "until it is revoked); may be repeated")
      ->allow_extra_args(false)
      ->required();
  add->add_option("--out,-o", add_options->out, "Write the token to this new file (0600)");
  add->footer(
      "Examples:\n  writ principals add ci --role requester --out ci.token\n  writ principals add "
      "alice --role requester --role approver --out alice.token\n\n"
      "Nothing is made where the file is there already or cannot be written.");
  add->callback([&context, add_options] {
    SystemClock clock;
    std::vector<plane::Role> roles;
    for (const std::string& word : add_options->roles) {
      auto role = plane::ParseRole(word);
      if (!role)
        return context.Fail(Error{ErrorKind::kInvalid, "cli.bad_role",
                                  "there is no role '" + word + "'",
                                  "admin, requester, approver or enroller"});
      roles.push_back(*role);
    }
    auto opened = OpenPlane(context.dir, clock);
    if (!opened) return context.Fail(opened.error());
    auto place = TokenPlace::Reserve(add_options->out);
    if (!place) return context.Fail(place.error());
    auto issued =
        (*opened)->CreatePrincipal(plane::Caller::Local(LocalUser()), add_options->name, roles);
    if (!issued) return context.Fail(issued.error());
    DeliverToken(context, issued->token, *place,
                 json::Object{{"name", add_options->name},
                              {"roles", json::Value::Texts(add_options->roles)}},
                 "token of principal " + add_options->name);
  });

  CLI::App* list = principals->add_subcommand("list", "List principals and their roles");
  list->footer("Examples:\n  writ principals list\n  writ principals list --json");
  list->callback([&context] {
    SystemClock clock;
    auto opened = OpenPlane(context.dir, clock);
    if (!opened) return context.Fail(opened.error());
    auto all = (*opened)->Principals();
    if (!all) return context.Fail(all.error());
    json::Array items;
    for (const plane::PrincipalInfo& info : *all) {
      std::vector<std::string> roles;
      std::string joined;
      for (plane::Role role : info.roles) {
        roles.emplace_back(plane::RoleName(role));
        joined += (joined.empty() ? "" : ",") + roles.back();
      }
      items.push_back(json::Object{{"name", info.name},
                                   {"roles", json::Value::Texts(roles)},
                                   {"createdAt", FormatRfc3339(info.created_at)},
                                   {"revoked", info.revoked}});
      context.Print(info.name + "  " + joined + (info.revoked ? "  revoked" : "") + "\n");
    }
    if (context.json) context.PrintJson(json::Object{{"principals", std::move(items)}});
    if (all->empty())
      context.Note("no principals; whoever owns " + context.dir +
                   " has every role on this machine");
  });

  auto revoke_name = std::make_shared<std::string>();
  CLI::App* revoke = principals->add_subcommand("revoke", "Revoke a principal's token");
  revoke->add_option("NAME", *revoke_name, "Name")->required();
  revoke->footer("Examples:\n  writ principals revoke ci");
  revoke->callback([&context, revoke_name] {
    SystemClock clock;
    auto opened = OpenPlane(context.dir, clock);
    if (!opened) return context.Fail(opened.error());
    auto done = (*opened)->RevokePrincipal(plane::Caller::Local(LocalUser()), *revoke_name);
    if (!done) return context.Fail(done.error());
    if (context.json) context.PrintJson(json::Object{{"revoked", *revoke_name}});
    context.Print("principal " + *revoke_name + " is revoked\n");
  });
}

}  // namespace writ::cli
