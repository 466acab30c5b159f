"""`python -m course_lib` is the `course` command (this is what `accelerate launch -m course_lib` starts)."""

from course_lib.cli import main

if __name__ == "__main__":
    main()
