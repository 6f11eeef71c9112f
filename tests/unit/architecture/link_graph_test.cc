// The house's arrows (docs/architecture.md): cli -> runner, plane -> backends, workspace,
// egress-proxy -> protocol -> base. Siblings do not see each other. Read from the build's own link
// graph, and from the #include lines, because an include without a link line is an arrow too.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "support/places.h"

namespace {

using Arrows = std::map<std::string, std::set<std::string>>;

// folder -> folders it may see.
const Arrows& Allowed() {
  static const Arrows allowed = {
      {"base", {}},
      {"protocol", {"base"}},
      {"workspace", {"protocol", "base"}},
      {"egress-proxy", {"protocol", "base"}},
      {"backends", {"protocol", "base"}},
      {"mock-agent", {"base"}},
      {"runner", {"backends", "workspace", "egress-proxy", "protocol", "base"}},
      {"plane", {"protocol", "base"}},
      {"cli", {"runner", "plane", "backends", "workspace", "egress-proxy", "protocol", "base"}},
  };
  return allowed;
}

// The include folder `writ/<x>/` of each folder, where it is not the folder's own name.
std::string FolderOfInclude(const std::string& include_folder) {
  return include_folder == "egress" ? "egress-proxy" : include_folder;
}

TEST(LinkGraph, HasOnlyTheAllowedArrows) {
  std::ifstream in(writ::test::BuildDir() + "/link-graph.txt");
  ASSERT_TRUE(in) << "the build writes link-graph.txt when it is configured";
  struct Target {
    std::string folder;
    std::set<std::string> dependencies;
  };
  std::map<std::string, Target> targets;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    Target target;
    words >> name >> target.folder;
    for (std::string word; words >> word;) target.dependencies.insert(word);
    targets[name] = target;
  }
  ASSERT_TRUE(targets.count("writ_base")) << "the graph is empty or has changed its form";
  int arrows = 0;
  for (const auto& [name, target] : targets) {
    auto allowed = Allowed().find(target.folder);
    if (allowed == Allowed().end()) continue;  // tests, bench, examples may see all
    for (const std::string& dependency : target.dependencies) {
      auto other = targets.find(dependency);
      if (other == targets.end() || other->second.folder == target.folder) continue;
      if (dependency == "writ_options") continue;
      ++arrows;
      EXPECT_TRUE(allowed->second.count(other->second.folder))
          << name << " (" << target.folder << ") links " << dependency << " ("
          << other->second.folder << ")";
    }
  }
  EXPECT_GT(arrows, 0);
  // An auditor's program has the protocol in it, and nothing that runs or serves.
  const std::set<std::string> ours = {"$<TARGET_FILE:writ_protocol>", "$<TARGET_FILE:writ_base>",
                                      "writ_options"};
  ASSERT_EQ(targets.count("writ-verify"), 1u);
  for (const std::string& dependency : targets["writ-verify"].dependencies) {
    if (dependency.find("writ") == std::string::npos) continue;
    EXPECT_TRUE(ours.count(dependency)) << "writ-verify links " << dependency;
  }
}

TEST(IncludeGraph, HasOnlyTheAllowedArrows) {
  int files = 0;
  for (const auto& [folder, allowed] : Allowed()) {
    std::filesystem::path root = std::filesystem::path(writ::test::SourceDir()) / folder;
    if (!std::filesystem::exists(root)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (entry.path().extension() != ".cc" && entry.path().extension() != ".h") continue;
      ++files;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        const std::string prefix = "#include \"writ/";
        if (line.rfind(prefix, 0) != 0) continue;
        std::string other = FolderOfInclude(
            line.substr(prefix.size(), line.find('/', prefix.size()) - prefix.size()));
        if (other == folder) continue;
        EXPECT_TRUE(allowed.count(other)) << entry.path() << ": " << line;
      }
    }
  }
  EXPECT_GT(files, 10);
}

// design: workspace is the only user of libgit2.
TEST(IncludeGraph, KeepsLibgit2InWorkspace) {
  for (const auto& [folder, allowed] : Allowed()) {
    std::filesystem::path root = std::filesystem::path(writ::test::SourceDir()) / folder;
    if (folder == "workspace" || !std::filesystem::exists(root)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);)
        EXPECT_EQ(line.find("#include <git2"), std::string::npos) << entry.path();
    }
  }
}

}  // namespace
