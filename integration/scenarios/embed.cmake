# Writes OUT, a C++ file with the texts of FILES.
set(text "#include \"integration/scenarios/story.h\"\n\nnamespace bmcpair::scenarios {\n\nconst std::vector<StoryText>& story_texts() {\n  static const std::vector<StoryText> all = {\n")
foreach(file ${FILES})
  file(READ ${file} content)
  get_filename_component(name ${file} NAME)
  string(APPEND text "      {\"${name}\", R\"story(${content})story\"},\n")
endforeach()
string(APPEND text "  };\n  return all;\n}\n\n}  // namespace bmcpair::scenarios\n")
file(WRITE ${OUT} "${text}")
