# One static library of several: -DOUT=libx.a "-DFILES=a.a;b.a" -DAR=ar -DSTRIP=strip -P archive.cmake
set(script "CREATE ${OUT}\n")
foreach(file ${FILES})
  string(APPEND script "ADDLIB ${file}\n")
endforeach()
file(WRITE ${OUT}.mri "${script}SAVE\nEND\n")
file(REMOVE ${OUT})
execute_process(COMMAND ${AR} -M INPUT_FILE ${OUT}.mri COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${STRIP} --enable-deterministic-archives --strip-debug ${OUT} COMMAND_ERROR_IS_FATAL ANY)
