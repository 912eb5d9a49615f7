# The target drought::libbacktrace: g++ brings the archive along, in a folder of its own version. Read by the
# build and by the installed package alike, for a path found on one machine means nothing on another.
if(NOT TARGET drought::libbacktrace)
  find_library(LIBBACKTRACE backtrace PATHS ${CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES} REQUIRED)
  add_library(drought::libbacktrace INTERFACE IMPORTED)
  target_link_libraries(drought::libbacktrace INTERFACE ${LIBBACKTRACE})
endif()
