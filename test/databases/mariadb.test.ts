import { MARIADB } from '../support/databases.ts';
import { describeRecipe } from '../support/recipe-suite.ts';

describeRecipe(MARIADB);
