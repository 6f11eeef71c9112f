// enroll-token, principals: who may talk to the plane.
#include <fcntl.h>
#include <CLI/CLI.hpp>

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

// A token is shown once: to the file that was asked for (0600, never replaced), else on standard
// output.
Status DeliverToken(Context& context, const std::string& token, const std::string& out,
                    json::Object facts, const std::string& sentence) {
  if (!out.empty()) {
    std::string path = AbsolutePath(out);
    std::size_t slash = path.rfind('/');
    WRIT_ASSIGN(UniqueFd dir, OpenDirectory(slash == 0 ? "/" : path.substr(0, slash)));
    WRIT_TRY(CreateFileAtomic(dir.get(), path.substr(slash + 1), token + "\n", 0600));
    facts.Set("tokenFile", path);
    if (context.json) context.PrintJson(std::move(facts));
    context.Print(sentence + "\ntoken file: " + path + "\n");
    return {};
  }
  facts.Set("token", token);
  if (context.json) context.PrintJson(std::move(facts));
  context.Note(sentence + " (shown once; only its hash is stored)");
  context.Print(token + "\n");
  return {};
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
    auto issued =
        (*requester)
            ->CreateEnrollToken(std::chrono::duration_cast<std::chrono::seconds>(*lifetime),
                                enroll->pool.empty() ? std::nullopt : std::optional(enroll->pool));
    if (!issued) return context.Fail(issued.error());
    json::Object facts{{"expiresAt", FormatRfc3339(issued->expires_at)}};
    if (!enroll->pool.empty()) facts.Set("pool", enroll->pool);
    Status done =
        DeliverToken(context, issued->token, enroll->out, std::move(facts),
                     "one-time enrolment token, valid until " + FormatRfc3339(issued->expires_at));
    if (!done) context.Fail(kUsage, done.error());
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
                  "admin, requester, approver or enroller; may be repeated")
      ->allow_extra_args(false)
      ->required();
  add->add_option("--out,-o", add_options->out, "Write the token to this new file (0600)");
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
    auto issued =
        (*opened)->CreatePrincipal(plane::Caller::Local(LocalUser()), add_options->name, roles);
    if (!issued) return context.Fail(issued.error());
    Status done = DeliverToken(context, issued->token, add_options->out,
                               json::Object{{"name", add_options->name},
                                            {"roles", json::Value::Texts(add_options->roles)}},
                               "token of principal " + add_options->name);
    if (!done) context.Fail(kUsage, done.error());
  });

  CLI::App* list = principals->add_subcommand("list", "List principals and their roles");
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
