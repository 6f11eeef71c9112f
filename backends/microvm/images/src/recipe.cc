#include "writ/backends/microvm/recipe.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kMaxLine = 16u << 10;  // with what it goes on in
constexpr std::size_t kMaxWord = 4096;
constexpr std::size_t kMaxName = 128;
constexpr unsigned kMaxTimeout = 3600;
constexpr unsigned kMaxUid = 65'533;  // nobody's, and above, are no users of an image
constexpr char kKinds[] = "FROM, RUN, COPY, ENV, USER, WORKDIR, START and HEALTHCHECK are there";

Error Wrong(const char* code, std::size_t line, const std::string& what, std::string hint) {
  return Error{ErrorKind::kInvalid, code, "line " + std::to_string(line) + ": " + what,
               std::move(hint)};
}

bool IsBlank(char c) {
  return c == ' ' || c == '\t';
}
std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

bool IsLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

// Printable text; bytes above ASCII are let through, they are data.
bool IsText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte != 0x7f : c == '\t';
  });
}

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> out;
  while (!(text = Trimmed(text)).empty()) {
    const auto end = std::min(text.find_first_of(" \t"), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return out;
}

// Without empty, "." and ".." parts; nullopt where one is "..".
std::optional<std::string> Clean(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const auto end = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (part.empty() || part == ".") continue;
    if (part == ".." || part.size() > 255) return std::nullopt;
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

// Of the root: what a machine mounts over is not an image's.
bool IsMountedOver(std::string_view clean) {
  const std::string_view first = clean.substr(0, clean.find('/'));
  return first == "proc" || first == "sys" || first == "dev" || first == "run";
}

struct Line {
  std::size_t number = 0;
  std::string keyword;
  std::string_view rest;  // trimmed
};

class Parser {
 public:
  Result<Recipe> Run(std::string_view text) {
    if (text.size() > kMaxRecipeBytes)
      return Error{ErrorKind::kInvalid, "recipe.too_large", "the recipe is larger than 256 KiB",
                   "put scripts into files of their own, and COPY them"};
    std::size_t number = 0;
    std::size_t first = 0;
    std::string whole;
    bool open = false;
    while (!text.empty()) {
      const auto end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      ++number;
      if (!IsText(line))
        return Wrong("recipe.text", number, "there is a character that no recipe has",
                     line.ends_with('\r')
                         ? "lines end with a newline alone, without a carriage return"
                         : "a recipe is text without control characters");
      if (Trimmed(line).starts_with('#')) continue;
      if (!open) {
        if (Trimmed(line).empty()) continue;
        first = number;
        whole.clear();
      }
      open = line.ends_with('\\');
      if (open) line.remove_suffix(1);
      whole += line;
      if (whole.size() > kMaxLine)
        return Wrong("recipe.line", first, "the line is longer than 16 KiB",
                     "put the script into a file of its own, and COPY it");
      if (!open) WRIT_TRY(OnLine(first, whole));
    }
    if (open)
      return Wrong("recipe.open_line", first, "the line ends with a backslash, and nothing follows",
                   "take the backslash away");
    if (out_.base_line == 0)
      return Error{ErrorKind::kInvalid, "recipe.no_from", "the recipe has no FROM",
                   "begin with FROM IMAGE, FROM --suite SUITE or FROM scratch"};
    if (health_line_ != 0 && start_line_ == 0)
      return Wrong("recipe.health", health_line_, "a HEALTHCHECK without a START checks nothing",
                   "say with START what is to become healthy");
    return std::move(out_);
  }

 private:
  Status OnLine(std::size_t number, std::string_view text) {
    text = Trimmed(text);
    Line line;
    line.number = number;
    const auto end = std::min(text.find_first_of(" \t"), text.size());
    line.keyword = text.substr(0, end);
    line.rest = Trimmed(text.substr(end));
    if (line.keyword == "FROM") return OnFrom(line);
    if (out_.base_line == 0)
      return Wrong("recipe.no_from", number, "FROM has to come first",
                   "begin with FROM IMAGE, FROM --suite SUITE or FROM scratch");
    if (out_.steps.size() >= kMaxRecipeSteps)
      return Wrong("recipe.steps", number, "the recipe has more than 256 steps",
                   "put several commands into one RUN");
    RecipeStep step;
    step.line = number;
    WRIT_TRY(Read(line, step));
    step.text = line.keyword + " " + std::string(line.rest);
    out_.steps.push_back(std::move(step));
    return {};
  }

  Status Read(const Line& line, RecipeStep& step) {
    using Kind = RecipeStep::Kind;
    const std::string& word = line.keyword;
    if (word == "RUN" || word == "START") {
      step.kind = word == "RUN" ? Kind::kRun : Kind::kStart;
      step.command = line.rest;
      if (step.command.empty())
        return Wrong("recipe.command", line.number, word + " has no command",
                     word + " COMMAND, as for /bin/sh");
      if (step.command.starts_with("["))
        return Wrong("recipe.command", line.number, word + " takes no list of words",
                     "write the command as for /bin/sh");
      return step.kind == Kind::kStart ? Once(line, start_line_) : Status();
    }
    if (word == "COPY") return OnCopy(line, step);
    if (word == "ENV") return OnEnv(line, step);
    if (word == "USER") return OnUser(line, step);
    if (word == "WORKDIR") return OnWorkDir(line, step);
    if (word == "HEALTHCHECK") return OnHealth(line, step);
    std::string upper = word.substr(0, kMaxName);
    for (char& c : upper)
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    return Wrong("recipe.unknown", line.number, "there is no " + word.substr(0, kMaxName),
                 upper != word && std::string_view(kKinds).find(upper) != std::string_view::npos
                     ? "write it in capitals"
                     : kKinds);
  }

  Status Once(const Line& line, std::size_t& seen) {
    if (seen != 0)
      return Wrong("recipe.twice", line.number,
                   line.keyword + " is there already, in line " + std::to_string(seen),
                   "an image has one; take the other away");
    seen = line.number;
    return {};
  }

  Status OnFrom(const Line& line) {
    WRIT_TRY(Once(line, out_.base_line));
    if (!out_.steps.empty())
      return Wrong("recipe.from", line.number, "FROM has to come first", "a recipe has one base");
    const std::vector<std::string> words = Words(line.rest);
    RecipeBase& base = out_.base;
    if (!words.empty() && words.front() == "--suite") {
      if (words.size() < 2)
        return Wrong("recipe.from", line.number, "no suite is named",
                     "FROM --suite bookworm git curl");
      base.kind = RecipeBase::Kind::kSuite;
      base.name = words[1];
      base.packages.assign(words.begin() + 2, words.end());
      return {};
    }
    if (words.size() != 1 || words.front().starts_with("-") || words.front().size() > kMaxName)
      return Wrong("recipe.from", line.number, "FROM names one base",
                   "FROM IMAGE (`writ image ls`), FROM --suite SUITE [PACKAGE...] or FROM scratch");
    base.name = words.front();
    base.kind = base.name == "scratch" ? RecipeBase::Kind::kScratch : RecipeBase::Kind::kImage;
    return {};
  }

  Status OnCopy(const Line& line, RecipeStep& step) {
    step.kind = RecipeStep::Kind::kCopy;
    std::vector<std::string> words = Words(line.rest);
    if (words.size() < 2)
      return Wrong("recipe.copy", line.number, "COPY needs a source and a target",
                   "COPY SOURCE... /TARGET; a target that is a directory ends with /");
    const std::string target = std::move(words.back());
    words.pop_back();
    for (const std::string& word : words) {
      const bool is_option = word.starts_with("--");
      const auto clean = word.starts_with("/") || is_option ? std::nullopt : Clean(word);
      if (!clean)
        return Wrong(
            "recipe.copy_source", line.number,
            is_option ? "COPY has no options: " + word.substr(0, kMaxName)
                      : "a source is outside of the recipe's folder: " + word.substr(0, kMaxName),
            "sources are below the folder that the recipe is in, without ..");
      step.sources.push_back(clean->empty() ? "." : *clean);
    }
    const auto clean = target.starts_with("/") ? Clean(target) : std::nullopt;
    if (!clean || IsMountedOver(*clean) || target.size() > kMaxWord)
      return Wrong("recipe.copy_target", line.number,
                   "this is no place in an image: " + target.substr(0, kMaxName),
                   "an absolute path without .., outside of /dev, /proc, /run and /sys");
    const bool directory = target.ends_with("/");
    if (words.size() > 1 && !directory)
      return Wrong("recipe.copy_target", line.number, "several sources need a directory as target",
                   "end the target with /");
    step.target = "/" + *clean + (directory && !clean->empty() ? "/" : "");
    return {};
  }

  Status OnEnv(const Line& line, RecipeStep& step) {
    step.kind = RecipeStep::Kind::kEnv;
    std::string_view rest = line.rest;
    auto wrong = [&](const std::string& what) {
      return Wrong("recipe.env", line.number, what, "ENV NAME=VALUE OTHER=\"a longer value\"");
    };
    while (!(rest = Trimmed(rest)).empty()) {
      const auto equals = rest.find('=');
      const std::string_view name = rest.substr(0, equals);
      if (equals == std::string_view::npos || name.empty() || name.size() > kMaxName ||
          !IsLetter(name.front()) ||
          !std::all_of(name.begin(), name.end(), [](char c) { return IsLetter(c) || IsDigit(c); }))
        return wrong("this is no variable's name and value");
      rest.remove_prefix(equals + 1);
      std::string value;
      if (rest.starts_with('"')) {
        rest.remove_prefix(1);
        bool closed = false;
        while (!rest.empty() && !closed) {
          char c = rest.front();
          rest.remove_prefix(1);
          if (c == '"') {
            closed = true;
          } else {
            if (c == '\\') {
              if (rest.empty() || (rest.front() != '"' && rest.front() != '\\'))
                return wrong("after a backslash comes \" or another backslash");
              c = rest.front();
              rest.remove_prefix(1);
            }
            value += c;
          }
        }
        if (!closed || (!rest.empty() && !IsBlank(rest.front())))
          return wrong("a value is not closed with \"");
      } else {
        const auto end = std::min(rest.find_first_of(" \t"), rest.size());
        value = rest.substr(0, end);
        if (value.find_first_of("\"'$`\\") != std::string::npos)
          return wrong("a value with quotes, $, ` or \\ stands in \"...\"; nothing is expanded");
        rest.remove_prefix(end);
      }
      if (value.size() > kMaxWord) return wrong("a value is longer than 4096 bytes");
      if (name.starts_with("LD_"))
        return wrong("variables of the loader are not an image's to set");
      step.env.emplace_back(name, std::move(value));
    }
    return step.env.empty() ? wrong("no variable is named") : Status();
  }

  Status OnUser(const Line& line, RecipeStep& step) {
    step.kind = RecipeStep::Kind::kUser;
    step.target = line.rest;
    const std::string& user = step.target;
    auto wrong = [&] {
      return Wrong("recipe.user", line.number, "this is no user: " + user.substr(0, kMaxName),
                   "USER NAME, of the image's /etc/passwd, or USER UID up to 65533");
    };
    if (user.empty() || user.size() > 32) return wrong();
    if (IsDigit(user.front())) {
      unsigned uid = 0;
      const auto [end, err] = std::from_chars(user.data(), user.data() + user.size(), uid);
      return err == std::errc() && end == user.data() + user.size() && uid <= kMaxUid ? Status()
                                                                                      : wrong();
    }
    const bool plain = IsLetter(user.front()) && std::all_of(user.begin(), user.end(), [](char c) {
                         return IsLetter(c) || IsDigit(c) || c == '-';
                       });
    return plain ? Status() : wrong();
  }

  Status OnWorkDir(const Line& line, RecipeStep& step) {
    step.kind = RecipeStep::Kind::kWorkDir;
    const auto clean = line.rest.starts_with('/') ? Clean(line.rest) : std::nullopt;
    if (!clean || IsMountedOver(*clean) || line.rest.size() > kMaxWord ||
        line.rest.find_first_of(" \t") != std::string_view::npos)
      return Wrong("recipe.workdir", line.number, "this is no directory in an image",
                   "an absolute path without .. and blanks, outside of /dev, /proc, /run and /sys");
    step.target = "/" + *clean;
    return {};
  }

  Status OnHealth(const Line& line, RecipeStep& step) {
    constexpr std::string_view kTimeout = "--timeout=";
    step.kind = RecipeStep::Kind::kHealth;
    WRIT_TRY(Once(line, health_line_));
    std::string_view rest = line.rest;
    step.timeout_s = GuestConfig{}.health_timeout_s;
    auto wrong = [&](const std::string& what) {
      return Wrong("recipe.health", line.number, what, "HEALTHCHECK [--timeout=SECONDS] COMMAND");
    };
    if (rest.starts_with("--")) {
      const auto end = std::min(rest.find_first_of(" \t"), rest.size());
      std::string_view option = rest.substr(0, end);
      if (!option.starts_with(kTimeout)) return wrong("HEALTHCHECK has no such option");
      option.remove_prefix(kTimeout.size());
      const auto [last, err] =
          std::from_chars(option.data(), option.data() + option.size(), step.timeout_s);
      if (err != std::errc() || last != option.data() + option.size() || step.timeout_s == 0 ||
          step.timeout_s > kMaxTimeout)
        return wrong("the timeout is none: 1 to 3600, in seconds");
      rest = Trimmed(rest.substr(end));
    }
    step.command = rest;
    return step.command.empty() ? wrong("HEALTHCHECK has no command") : Status();
  }

  Recipe out_;
  std::size_t start_line_ = 0;
  std::size_t health_line_ = 0;
};

// A word for /bin/sh that means exactly `text`.
std::string Quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

Result<Recipe> ParseRecipe(std::string_view text) {
  return Parser().Run(text);
}

void Apply(const RecipeStep& step, GuestConfig& config) {
  switch (step.kind) {
    case RecipeStep::Kind::kRun:
    case RecipeStep::Kind::kCopy:
      return;
    case RecipeStep::Kind::kEnv:
      for (const auto& [name, value] : step.env) {
        auto at = std::find_if(config.env.begin(), config.env.end(),
                               [&name = name](const auto& one) { return one.first == name; });
        if (at == config.env.end())
          config.env.emplace_back(name, value);
        else
          at->second = value;
      }
      std::sort(config.env.begin(), config.env.end());
      return;
    case RecipeStep::Kind::kUser:
      config.user = step.target == "0" || step.target == "root" ? std::string() : step.target;
      return;
    case RecipeStep::Kind::kWorkDir:
      config.work_dir = step.target == "/" ? std::string() : step.target;
      return;
    case RecipeStep::Kind::kStart:
      config.start = step.command;
      return;
    case RecipeStep::Kind::kHealth:
      config.health = step.command;
      config.health_timeout_s = step.timeout_s;
      return;
  }
}

std::string WarmUpOf(const GuestConfig& config) {
  if (config.start.empty()) return {};
  std::string out;
  if (!config.work_dir.empty()) out += "cd " + Quoted(config.work_dir) + " || exit 1\n";
  for (const auto& [name, value] : config.env) out += "export " + name + "=" + Quoted(value) + "\n";
  // In shells of their own: neither can end or change this one.
  out += "/bin/sh -c " + Quoted(config.start) + " &\n";
  if (config.health.empty()) return out + "wait $!\n";
  out += "left=" + std::to_string(config.health_timeout_s) +
         "\n"
         "until /bin/sh -c " +
         Quoted(config.health) +
         "; do\n"
         "  left=$((left - 1))\n"
         "  [ \"$left\" -gt 0 ] || { echo 'it did not become healthy' >&2; exit 1; }\n"
         "  sleep 1\n"
         "done\n";
  return out;
}

}  // namespace writ::backends::microvm
