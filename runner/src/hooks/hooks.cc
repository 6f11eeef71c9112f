#include "writ/runner/hooks.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "hooks/hook_process.h"
#include "writ/base/log.h"

namespace writ::runner {
namespace {

constexpr std::size_t kMaxLogged = 2'000;  // of a hook's output in one log line

Error Unsafe(const std::string& path, const std::string& why) {
  return Error{.kind = ErrorKind::kDenied,
               .code = "hook.unsafe",
               .message = "the hook " + path + " is not started: " + why,
               .hint =
                   "it and all of its folders must belong to root or to the runner's user, and "
                   "nobody else may write to them"};
}

bool OursAlone(const struct stat& info) {
  return (info.st_uid == 0 || info.st_uid == geteuid()) &&
         (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

json::Value Question(const HookPoint& point, const HookHost& host) {
  json::Object out{{"version", "writ.hook.v1"},
                   {"hook", HookName(point.hook)},
                   {"runner", json::Object{{"id", host.runner_id}, {"pool", host.pool}}}};
  if (!point.run.run_id.empty()) {
    json::Object run{{"runId", point.run.run_id}, {"slot", point.run.slot}};
    if (!point.run.trace_id.empty()) run.Set("traceId", point.run.trace_id);
    if (const json::Object* facts = point.facts.if_object())
      for (const json::Member& fact : *facts) run.Set(fact.name, fact.value);
    out.Set("run", std::move(run));
  }
  return out;
}

// What a log may show of a hook's words: no secret (redacted before), one bounded line.
void LogOutput(const HookPoint& point, const HookProcessEnd& end) {
  if (end.output.empty()) return;
  std::string text = point.redact ? point.redact(end.output) : end.output;
  std::uint64_t left_out = end.left_out;
  if (text.size() > kMaxLogged) {
    left_out += text.size() - kMaxLogged;
    text.resize(kMaxLogged);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  log::Info(
      "runner.hook_output", text,
      {{"hook", HookName(point.hook)}, {"run", point.run.run_id}, {"leftOutBytes", left_out}});
}

HookRecord Ask(const HookSpec& spec, const HookPoint& point, const HookHost& host) {
  HookRecord record{.hook = point.hook};
  const std::string name(HookName(point.hook));
  record.took = std::chrono::milliseconds(1);
  auto failed = [&](std::string why) {
    record.why = std::move(why);
    record.veto = MayVeto(point.hook) && spec.failure == HookFailure::kVeto;
  };
  if (Status safe = CheckHookFile(spec.path); !safe) {
    failed(safe.error().message);
    return record;
  }
  const std::string input = json::Write(Question(point, host)) + "\n";
  HookCommand command;
  command.warden = host.warden;
  command.path = spec.path;
  command.args = spec.args;
  command.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "LANG=C.UTF-8", "WRIT_HOOK=" + name};
  command.input = input;
  command.deadline = std::min(spec.deadline, point.at_most.value_or(spec.deadline));
  Result<HookProcessEnd> end = RunHookProcess(command);
  if (!end) {
    failed("the hook " + name + " could not be started");
    return record;
  }
  record.took = end->took;
  record.exit_code = end->exit_code;
  LogOutput(point, *end);
  if (end->timed_out) {
    failed("the hook " + name + " was ended at its deadline, after " +
           std::to_string(end->took.count()) + " ms");
  } else if (!end->exit_code) {
    failed("the hook " + name + " was ended by a signal");
  } else if (*end->exit_code != 0) {
    failed("the hook " + name + " exited with " + std::to_string(*end->exit_code));
  }
  return record;
}

}  // namespace

Status CheckHookFile(const std::string& path) {
  if (path.size() < 2 || path[0] != '/' || path.find('\0') != std::string::npos)
    return Unsafe(path, "its path is not absolute");
  std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), free);
  if (!real) return Unsafe(path, "it is not there");
  if (path != real.get()) return Unsafe(path, "its path goes through a symbolic link");
  struct stat info {};
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string folder = path.substr(0, at);
    if (lstat(folder.c_str(), &info) != 0) return Unsafe(path, "a folder of it is not there");
    const bool sticky = (info.st_mode & S_ISVTX) != 0 && info.st_uid == 0;
    if (!sticky && !OursAlone(info)) return Unsafe(path, "others may change " + folder);
  }
  if (lstat(path.c_str(), &info) != 0) return Unsafe(path, "it is not there");
  if (!S_ISREG(info.st_mode)) return Unsafe(path, "it is no regular file");
  if (!OursAlone(info)) return Unsafe(path, "others may change it");
  if (access(path.c_str(), X_OK) != 0) return Unsafe(path, "it is not executable");
  return {};
}

void SubscribeHooks(EventBus& bus, std::function<HookTable()> hooks, HookHost host) {
  bus.Subscribe([&bus, hooks = std::move(hooks), host = std::move(host)](const LifeEvent& event) {
    const auto* point = std::get_if<HookPoint>(&event);
    if (point == nullptr) return;
    const HookTable now = hooks();
    auto spec = now.find(point->hook);
    if (spec == now.end()) return;
    HookRecord record = Ask(spec->second, *point, host);
    bus.Publish(HookEnded{point->run, record});
    point->gate->records.push_back(std::move(record));
  });
}

}  // namespace writ::runner
