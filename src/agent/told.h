// What has been told of each thing that is wanted: the newest, and whether it is news.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

namespace ebb::agent {

// Takes the place of what was told of the same `key` before. False: that said the same.
template <class Told, class Key>
bool remember(std::vector<Told>& all, Told told, Key key) {
  auto known = std::ranges::find(all, told.*key, key);
  if (known == all.end())
    all.push_back(std::move(told));
  else if (*known == told)
    return false;
  else
    *known = std::move(told);
  return true;
}

}  // namespace ebb::agent
