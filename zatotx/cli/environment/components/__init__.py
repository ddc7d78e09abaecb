"""Operations on components of an environment: one module for each type of component."""
